/**
 * Redis lost everything. What the archive had by then must all be there in the end. What was accepted and not archived
 * yet may be gone, and its numbers are nobody's: the channel goes on above the next multiple of 2^20 (lib/rebuild).
 */
import { SEQ_STRIDE } from '../../../lib/archive/rows.ts';

/** A change of members that was made so shortly before may not have been archived. */
const UNARCHIVED_MS = 10_000;

export class Losses {
  /** channel → what is in doubt: numbers above the first, up to the second. */
  readonly #numbers = new Map<string, [above: number, upTo: number][]>();
  readonly #times: { from: number; to: number }[] = [];

  /** About to happen; `heads`: the last number that the archive has of each channel. */
  losing(at: number, heads: readonly (readonly [channel: string, seq: number])[]): void {
    this.#times.push({ from: at - UNARCHIVED_MS, to: Number.POSITIVE_INFINITY });
    for (const [channel, seq] of heads) {
      const upTo = (Math.floor(seq / SEQ_STRIDE) + 1) * SEQ_STRIDE;
      this.#numbers.set(channel, [...(this.#numbers.get(channel) ?? []), [seq, upTo]]);
    }
  }

  lost(at: number): void {
    this.#times.at(-1)!.to = at;
  }

  /** It may be gone, and need not be. */
  mayTake(channel: string, seq: number): boolean {
    return this.#numbers.get(channel)?.some(([above, upTo]) => above < seq && seq <= upTo) ?? false;
  }

  mayTakeAll(channel: string, from: number, to: number): boolean {
    return this.#numbers.get(channel)?.some(([above, upTo]) => above < from && to <= upTo) ?? false;
  }

  /** For what has no number: it was asked for at the one time, and answered at the other. */
  mayTakeWhatWas(asked: number, answered: number): boolean {
    return this.#times.some(({ from, to }) => answered >= from && asked <= to);
  }
}
