/**
 * Coalesces watermarks: what is to be told waits for the end of a round, and then goes all together, of each key once and as
 * far as it has come. A call, a ring, a read and a wake cost more than what is told in them.
 */
import type { Watermarks } from '../../lib/redis/receipt-verbs.ts';

/** After `hurry`, for so long, rounds are a twentieth as long. */
const HURRIED_FOR_MS = 1000;
const HURRIED_TIMES = 20;

export interface Waiting<Item extends Watermarks> {
  item: Item;
  readonly told: PromiseWithResolvers<void>;
}

interface Round<Item extends Watermarks> {
  readonly waiting: Map<string, Waiting<Item>>;
  readonly timer: NodeJS.Timeout;
}

export class Rounds<Item extends Watermarks> {
  readonly #everyMs: number;
  readonly #tell: (waiting: readonly Waiting<Item>[]) => void;
  #round: Round<Item> | undefined;
  #hurriedUntil = 0;

  /** `tell` settles each `told`. */
  constructor(everyMs: number, tell: (waiting: readonly Waiting<Item>[]) => void) {
    this.#everyMs = everyMs;
    this.#tell = tell;
  }

  /** Settles as the telling does. */
  add(key: string, item: Item): Promise<void> {
    this.#round ??= this.#begin();
    const { waiting } = this.#round;
    const known = waiting.get(key);
    if (!known) {
      const told = Promise.withResolvers<void>();
      waiting.set(key, { item, told });
      return told.promise;
    }
    // Answers of two connections may come in either order; watermarks only grow.
    const { delivered, read } = known.item;
    known.item = { ...item, delivered: Math.max(delivered, item.delivered), read: Math.max(read, item.read) };
    return known.told.promise;
  }

  /** Nobody is waited for: somebody is about to leave. */
  hurry(): void {
    this.#hurriedUntil = performance.now() + HURRIED_FOR_MS;
    this.#end();
  }

  #begin(): Round<Item> {
    const hurried = performance.now() < this.#hurriedUntil;
    const timer = setTimeout(() => this.#end(), hurried ? this.#everyMs / HURRIED_TIMES : this.#everyMs);
    return { waiting: new Map(), timer };
  }

  #end(): void {
    if (!this.#round) return;
    const { waiting, timer } = this.#round;
    clearTimeout(timer);
    this.#round = undefined;
    this.#tell([...waiting.values()]);
  }
}
