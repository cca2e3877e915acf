/**
 * One source partition's deliveries for one target partition: the unit whose order matters.
 *
 * `after` is what the target's own cursor is known to be. The queue holds what comes next, in log order. When the target
 * turns out to be behind, or the queue outgrows its bound, the queue is dropped, not the entries: the pair *catches up*,
 * reading the log from the target's cursor for itself alone, beside the live reading (design, rules 1 and 2).
 */

import type { Block, Delivery } from '../../lib/redis/delivery.ts';
import { compareIds, maxId } from '../../lib/redis/ids.ts';

/** A queue over this many bytes is dropped; the log has the entries. 256 pairs × 1 MiB is the worst case at P = 16. */
const QUEUE_BYTES = 1024 * 1024;

export class Pair {
  readonly source: number;
  readonly target: number;
  after: string;
  catchingUp = false;
  inFlight = false;
  /** Its log is being read for it: one reading at a time. */
  filling = false;
  /** Its source went to another worker: nothing more of the queue is sent. */
  lost = false;
  /** When the target's cursor was last moved or found in place, by a monotonic clock. */
  touchedAt = performance.now();
  #queue: Delivery[] = [];
  #bytes = 0;

  constructor(source: number, target: number, after: string) {
    this.source = source;
    this.target = target;
    this.after = after;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get idle(): boolean {
    return this.#queue.length === 0 && !this.inFlight && !this.catchingUp;
  }

  /** False when the queue had to be dropped: the pair must catch up. */
  push(delivery: Delivery): boolean {
    if (this.catchingUp || compareIds(delivery.logId, this.after) <= 0) return true;
    this.#queue.push(delivery);
    for (const value of delivery.fields) this.#bytes += value.length;
    return this.#bytes <= QUEUE_BYTES;
  }

  drop(): void {
    this.#queue = [];
    this.#bytes = 0;
  }

  /**
   * The next call's block: at most `recipients` of them, but never less than one whole entry. `readTo` is what the source
   * has been read to: with an empty queue, the cursor may move there. Never back: what was just taken over is read
   * from where the target stands that is furthest behind.
   */
  block(recipients: number, readTo: string): { block: Block; recipients: number } {
    let taken = 0;
    let count = 0;
    while (count < this.#queue.length && (count === 0 || taken + this.#queue[count]!.recipients.length <= recipients)) {
      taken += this.#queue[count]!.recipients.length;
      count++;
    }
    const deliveries = this.#queue.slice(0, count);
    const end = deliveries.at(-1)?.logId ?? this.after;
    const last = count === this.#queue.length ? maxId(readTo, end) : end;
    return {
      block: { source: this.source, target: this.target, after: this.after, last, floor: false, deliveries },
      recipients: taken,
    };
  }

  /** The target's cursor stands here now. */
  moved(cursor: string): void {
    this.after = maxId(this.after, cursor);
    this.touchedAt = performance.now();
    let done = 0;
    while (done < this.#queue.length && compareIds(this.#queue[done]!.logId, this.after) <= 0) {
      for (const value of this.#queue[done]!.fields) this.#bytes -= value.length;
      done++;
    }
    if (done > 0) this.#queue.splice(0, done);
  }

  /** The target is behind: forget what was thought, go on from its cursor. */
  rewind(cursor: string): void {
    this.drop();
    this.after = cursor;
    this.catchingUp = true;
  }
}
