/**
 * Exponential backoff with full jitter: a delay drawn evenly from 0 to a bound that doubles with each attempt. Of the
 * usual variants it spreads a crowd that lost its server at the same moment best (M. Brooker, "Exponential Backoff And
 * Jitter", AWS Architecture Blog, 2015).
 */
export interface BackoffOptions {
  baseMs: number;
  capMs: number;
  /** So many attempts before the bound begins to double. */
  steady?: number;
  random: () => number;
}

export class Backoff {
  private attempts = 0;
  private readonly options: BackoffOptions;

  constructor(options: BackoffOptions) {
    this.options = options;
  }

  /** The delay before the next attempt, in milliseconds. */
  next(): number {
    const { baseMs, capMs, steady = 0, random } = this.options;
    const bound = Math.min(capMs, baseMs * 2 ** Math.min(Math.max(0, this.attempts - steady), 30));
    this.attempts += 1;
    return Math.round(random() * bound);
  }

  reset(): void {
    this.attempts = 0;
  }

  /** As if so many attempts had failed already: for refusals that say "too much". */
  atLeast(attempts: number): void {
    this.attempts = Math.max(this.attempts, attempts);
  }
}

/** Resolves after the time, or at once when the signal aborts; it never rejects. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}
