/**
 * Acks of a tenth of a second go to the store together (design §5): one script call for many users. Only the latest
 * offset of a session matters, so a session has at most one ack waiting.
 */
import { maxId } from '../../lib/redis/ids.ts';
import type { GatewayContext } from './context.ts';

const EVERY_MS = 100;
const PER_CALL = 64;

interface Waiting {
  user: string;
  device: string;
  offset: string;
}

export class Acks {
  readonly #ctx: GatewayContext;
  #waiting = new Map<string, Waiting>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ctx: GatewayContext) {
    this.#ctx = ctx;
  }

  add(session: string, ack: Waiting): void {
    this.#waiting.set(session, ack);
    this.#timer ??= setTimeout(() => void this.flush(), EVERY_MS);
  }

  /** Everything that waits now is stored when it resolves, or waits again. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = new Map();
    const byPartition = new Map<number, [string, Waiting][]>();
    const alone = this.#ctx.store.kind === 'cluster';
    for (const entry of waiting) {
      const group = alone ? this.#ctx.keys.partitionOf(entry[1].user) : 0;
      const list = byPartition.get(group);
      if (list) list.push(entry);
      else byPartition.set(group, [entry]);
    }
    const calls = [];
    for (const list of byPartition.values()) {
      for (let i = 0; i < list.length; i += PER_CALL) calls.push(this.#store(list.slice(i, i + PER_CALL)));
    }
    await Promise.all(calls);
  }

  async #store(acks: [string, Waiting][]): Promise<void> {
    try {
      await this.#ctx.verbs.ack(acks.map(([, ack]) => ack));
    } catch (error) {
      this.#ctx.metrics.retries.of('ack').inc();
      this.#ctx.logger.warn({ err: error }, 'storing acks failed, they wait for the next time');
      for (const [session, ack] of acks) {
        const newer = this.#waiting.get(session);
        this.#waiting.set(session, newer ? { ...ack, offset: maxId(newer.offset, ack.offset) } : ack);
      }
      this.#timer ??= setTimeout(() => void this.flush(), 1000);
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
