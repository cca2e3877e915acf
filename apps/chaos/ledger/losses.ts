/**
 * Redis lost everything. What the archive had by then must all be there in the end. What was accepted and not archived
 * yet may be gone, and its numbers are nobody's: the channel goes on above the base that it is given then (lib/rebuild).
 */

/** A change of members that was made so shortly before may not have been archived. */
const UNARCHIVED_MS = 10_000;

/** The last number that the archive has, and what the channel will go on from. */
export type Head = readonly [channel: string, seq: number, base: number];

export class Losses {
  /** channel → what is in doubt: numbers above the first, up to the second. */
  readonly #numbers = new Map<string, [above: number, upTo: number][]>();
  readonly #times: { from: number; to: number }[] = [];

  /** About to happen. */
  losing(at: number, heads: readonly Head[]): void {
    this.#times.push({ from: at - UNARCHIVED_MS, to: Number.POSITIVE_INFINITY });
    for (const [channel, seq, upTo] of heads) {
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
