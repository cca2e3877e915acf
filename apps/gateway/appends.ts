/**
 * Sends that arrive close together go to the store in one script call (design §5: a call costs Redis and Node more than a
 * message in it does). A lone send goes at once; while sends keep coming, a call leaves every few milliseconds, and the
 * next only after the last one's answer.
 */
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import { busyIntervalMs } from '../../lib/redis/interval.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { AppendInput, AppendReply, Verbs } from '../../lib/redis/verbs.ts';

/** At 15 to 33 µs each (design §10), a call holds Redis for about a millisecond. */
const PER_CALL = 32;

interface Parts {
  verbs: Verbs;
  store: RedisStore;
  keys: Keyspace;
}

interface Waiting {
  message: AppendInput;
  resolve(reply: AppendReply): void;
  reject(error: unknown): void;
}

export class Appends {
  readonly #ctx: Parts;
  readonly #lanes = new Map<number, AppendLane>();

  constructor(ctx: Parts) {
    this.#ctx = ctx;
  }

  append(message: AppendInput): Promise<AppendReply> {
    // One lane for all that one command may touch.
    const group = this.#ctx.store.kind === 'cluster' ? this.#ctx.keys.partitionOf(message.channel) : 0;
    let lane = this.#lanes.get(group);
    if (!lane) {
      lane = new AppendLane(this.#ctx);
      this.#lanes.set(group, lane);
    }
    return lane.append(message);
  }
}

class AppendLane {
  readonly #ctx: Pick<Parts, 'verbs'>;
  #waiting: Waiting[] = [];
  #scheduled = false;
  #calledAt = 0;
  #intervalMs = busyIntervalMs(0);

  constructor(ctx: Pick<Parts, 'verbs'>) {
    this.#ctx = ctx;
  }

  append(message: AppendInput): Promise<AppendReply> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0) return;
    this.#scheduled = true;
    const call = () => void this.#call();
    const left = this.#intervalMs - (performance.now() - this.#calledAt);
    if (left > 0 && this.#waiting.length < PER_CALL) {
      setTimeout(call, left);
    } else {
      setImmediate(call); // with what else this turn of the event loop reads from its sockets
    }
  }

  async #call(): Promise<void> {
    const batch = this.#waiting.splice(0, PER_CALL);
    this.#calledAt = performance.now();
    try {
      const replies = await this.#ctx.verbs.appendAll(batch.map((w) => w.message));
      batch.forEach((waiting, i) => {
        const reply = replies[i];
        if (reply === undefined || reply instanceof Error) waiting.reject(reply);
        else waiting.resolve(reply);
      });
    } catch (error) {
      // The store is away: who queues behind it is told with it, and does not wait out one time-out after another.
      const told = isRetryable(error) ? [...batch, ...this.#waiting.splice(0)] : batch;
      for (const waiting of told) waiting.reject(error);
    }
    this.#intervalMs = busyIntervalMs(batch.length);
    this.#scheduled = false;
    this.#schedule();
  }
}
