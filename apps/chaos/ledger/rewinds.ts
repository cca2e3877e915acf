/**
 * Where the store went back in time: a replica took a primary's place, or a server lost the end of its file. Inboxes there
 * get their latest events again, under other offsets, and devices fill holes from history. So what was on the wire to their
 * users is not judged: of what was written about then, and in sessions that lived through it. Everywhere else it is.
 */
import { partitionOf } from '../../../lib/partitions/slices.ts';

/** What was delivered so long before may be what is lost; and so long after, devices and workers may still go by it. */
const AROUND_MS = 10_000;

export class Rewinds {
  readonly #partitions: number;
  /** By partition. */
  readonly #spans = new Map<number, { from: number; to: number }[]>();

  constructor(partitions: number) {
    this.#partitions = partitions;
  }

  add(partitions: readonly number[], from: number, to: number): void {
    for (const p of partitions) {
      this.#spans.set(p, [...(this.#spans.get(p) ?? []), { from: from - AROUND_MS, to: to + AROUND_MS }]);
    }
  }

  /** All that there are. */
  addAll(from: number, to: number): void {
    this.add(
      Array.from({ length: this.#partitions }, (_, p) => p),
      from,
      to,
    );
  }

  /** The user's inbox went back at some time within these. */
  touch(user: string, from: number, to: number): boolean {
    const spans = this.#spans.get(partitionOf(user, this.#partitions)) ?? [];
    return spans.some((span) => span.from <= to && from <= span.to);
  }
}
