/** Reads of a tenth of a second go together: of a session and channel only the latest matters. */
import type { Mark, Receipts } from './receipts.ts';

const EVERY_MS = 100;

interface Waiting {
  mark: Mark;
  promise: Promise<boolean>;
  resolve(known: boolean): void;
  reject(error: unknown): void;
}

export class Reads {
  readonly #receipts: Receipts;
  #waiting = new Map<string, Waiting>();
  #timer: NodeJS.Timeout | undefined;

  constructor(receipts: Receipts) {
    this.#receipts = receipts;
  }

  /** Resolves with false when the reader has no such conversation. */
  add(session: string, mark: Mark): Promise<boolean> {
    const key = `${session} ${mark.channel}`;
    const known = this.#waiting.get(key);
    if (known) {
      known.mark = { ...mark, read: Math.max(mark.read, known.mark.read) };
      return known.promise;
    }
    const waiting = { mark, ...Promise.withResolvers<boolean>() };
    this.#waiting.set(key, waiting);
    this.#timer ??= setTimeout(() => void this.flush(), EVERY_MS);
    return waiting.promise;
  }

  /** What waits now is settled when it resolves. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    await Promise.all(waiting.map(({ mark, resolve, reject }) => this.#receipts.read(mark).then(resolve, reject)));
  }
}
