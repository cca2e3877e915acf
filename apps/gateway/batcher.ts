/**
 * What is asked of the store in one turn of the event loop goes to it in one script call (in a cluster: one per partition):
 * a call costs Redis and Node more than one more item in it does.
 */
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';

interface Waiting<Item, Reply> {
  item: Item;
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

export interface BatcherOptions<Item, Reply> {
  store: RedisStore;
  keys: Keyspace;
  /** The user or channel whose keys an item touches. */
  of: (item: Item) => string;
  /** Bounds how long a call holds Redis. */
  perCall: number;
  /** One reply for each item, in their order; an Error is that item's own. */
  call: (items: readonly Item[]) => Promise<readonly (Reply | Error)[]>;
}

export class Batcher<Item, Reply> {
  readonly #options: BatcherOptions<Item, Reply>;
  #waiting: Waiting<Item, Reply>[] = [];

  constructor(options: BatcherOptions<Item, Reply>) {
    this.#options = options;
  }

  run(item: Item): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#flush());
      this.#waiting.push({ item, resolve, reject });
    });
  }

  #flush(): void {
    const { store, keys, of, perCall } = this.#options;
    const waiting = this.#waiting;
    this.#waiting = [];
    const groups =
      store.kind === 'cluster'
        ? Map.groupBy(waiting, ({ item }) => keys.partitionOf(of(item))).values()
        : ([waiting] as const);
    for (const group of groups) {
      for (let i = 0; i < group.length; i += perCall) void this.#call(group.slice(i, i + perCall));
    }
  }

  async #call(batch: Waiting<Item, Reply>[]): Promise<void> {
    try {
      const replies = await this.#options.call(batch.map(({ item }) => item));
      batch.forEach(({ resolve, reject }, i) => {
        const reply = replies[i];
        if (reply instanceof Error) reject(reply);
        else resolve(reply as Reply);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
