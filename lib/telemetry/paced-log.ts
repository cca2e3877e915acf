/**
 * Warnings of what clients repeat as often as they like while something is away: a line a second for each kind, with the
 * error of the latest and how many there were since the line before.
 */
const APART_MS = 1000;

interface Warner {
  warn(fields: object, message: string): void;
}

export class PacedLog {
  readonly #logger: Warner;
  readonly #now: () => number;
  /** By what is said and during what: our own words, so a few. */
  readonly #kinds = new Map<string, { lastAt: number; times: number }>();

  /** `now`: a clock that only goes forward, in ms. */
  constructor(logger: Warner, now: () => number = () => performance.now()) {
    this.#logger = logger;
    this.#now = now;
  }

  warn(error: unknown, doing: string, message: string): void {
    const kind = `${message} ${doing}`;
    const { lastAt, times } = this.#kinds.get(kind) ?? { lastAt: Number.NEGATIVE_INFINITY, times: 0 };
    const now = this.#now();
    const due = now - lastAt >= APART_MS;
    this.#kinds.set(kind, due ? { lastAt: now, times: 0 } : { lastAt, times: times + 1 });
    if (due) this.#logger.warn({ err: error, doing, times: times + 1 }, message);
  }
}
