/**
 * Token buckets that cost one number each (the generic cell rate algorithm: instead of counting tokens, remember when the
 * bucket will be full again), and a map of them that holds only those that are not full.
 *
 * Our own because the packages of this kind are made for other places: rate-limiter-flexible counts in fixed windows with a
 * timer per key, `limiter` has an object per bucket and never lets go of one.
 */

/** Times are monotonic milliseconds. */
export class Rate {
  readonly burst: number;
  /** A token drips in this often; an empty bucket is full after `fullMs`. */
  readonly everyMs: number;
  readonly fullMs: number;

  constructor(perSecond: number, burst: number) {
    this.burst = burst;
    this.everyMs = 1000 / perSecond;
    this.fullMs = burst * this.everyMs;
  }

  /** When the bucket is full after one more token is taken; `fullAt` is when it would be without. */
  taken(fullAt: number, now: number): number {
    return (fullAt > now ? fullAt : now) + this.everyMs;
  }

  /** How long until a bucket with this future is possible: up to 0, it is now. */
  waitMs(fullAt: number, now: number): number {
    return fullAt - now - this.fullMs - ROUNDING_MS;
  }

  /** Tokens left. */
  left(fullAt: number, now: number): number {
    return Math.min(this.burst, Math.floor((this.fullMs - (fullAt - now) + ROUNDING_MS) / this.everyMs));
  }
}

/** Of adding and subtracting in floating point. */
const ROUNDING_MS = 0.001;

export class Buckets {
  readonly rate: Rate;
  /**
   * Key → when its bucket is full. Two generations, each as long as an empty bucket needs to fill: what was not taken from
   * during all of the last one is full, and is forgotten with its generation. So memory is bounded by the keys of that
   * time, nobody idle costs anything, and there is no timer.
   */
  #young = new Map<string, number>();
  #old = new Map<string, number>();
  #bornAt = 0;

  constructor(rate: Rate) {
    this.rate = rate;
  }

  /** 0: a token was taken. Else nothing was, and there is one after so many milliseconds. */
  take(key: string, now = performance.now()): number {
    const { rate } = this;
    this.#age(now);
    const fullAt = rate.taken(this.#fullAt(key), now);
    const wait = rate.waitMs(fullAt, now);
    if (wait > 0) return Math.ceil(wait);
    this.#young.set(key, fullAt);
    return 0;
  }

  left(key: string, now = performance.now()): { tokens: number; fullInMs: number } {
    const fullAt = this.#fullAt(key);
    return { tokens: this.rate.left(fullAt, now), fullInMs: Math.max(0, fullAt - now) };
  }

  /** How many are remembered. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  #fullAt(key: string): number {
    return this.#young.get(key) ?? this.#old.get(key) ?? 0;
  }

  #age(now: number): void {
    const age = now - this.#bornAt;
    if (age < this.rate.fullMs) return;
    this.#old = age < 2 * this.rate.fullMs ? this.#young : new Map();
    this.#young = new Map();
    this.#bornAt = now;
  }
}
