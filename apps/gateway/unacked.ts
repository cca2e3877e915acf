/**
 * The messages by others that a session was sent and has not acked: what an ack covers is then known without asking the
 * store. Bounded; what was forgotten is read from the inbox.
 */
import type { StreamEntry } from '../../lib/redis/blocking.ts';
import { compareIds, minId, ZERO } from '../../lib/redis/ids.ts';

const MOST = 256;

interface Sent {
  offset: string;
  channel: string;
  seq: number;
}

export interface Covered {
  /** Channel → highest seq. */
  covers: Map<string, number>;
  /** Up to this offset, what was sent is not known any more; `0-0`: all is known. */
  unknownTo: string;
}

export class Unacked {
  #sent: Sent[] = [];
  #forgottenTo = ZERO;

  get empty(): boolean {
    return this.#sent.length === 0 && this.#forgottenTo === ZERO;
  }

  add(entry: StreamEntry): void {
    const { channel, seq } = positionOf(entry.fields);
    const last = this.#sent.at(-1);
    // Each read makes its strings anew: most of those of one session say the same.
    this.#sent.push({ offset: entry.id, channel: last?.channel === channel ? last.channel : channel, seq });
    if (this.#sent.length <= MOST) return;
    this.#forgottenTo = this.#sent.splice(0, MOST / 2).at(-1)?.offset ?? ZERO;
  }

  /** What an ack of this offset covers, and forgets it. */
  take(offset: string): Covered {
    const covers = new Map<string, number>();
    let count = 0;
    for (const sent of this.#sent) {
      if (compareIds(sent.offset, offset) > 0) break;
      cover(covers, sent.channel, sent.seq);
      count++;
    }
    this.#sent.splice(0, count);
    const unknownTo = minId(this.#forgottenTo, offset);
    if (unknownTo === this.#forgottenTo) this.#forgottenTo = ZERO;
    return { covers, unknownTo };
  }
}

/** Whether the inbox entry is a message that somebody else wrote. */
export function isOfOthers(fields: readonly string[], user: string): boolean {
  return fields[1] === 'message' && fields[9] !== user;
}

export function positionOf(fields: readonly string[]): { channel: string; seq: number } {
  return { channel: fields[3] ?? '', seq: Number(fields[5]) };
}

export function cover(covers: Map<string, number>, channel: string, seq: number): void {
  const known = covers.get(channel);
  if (known === undefined || known < seq) covers.set(channel, seq);
}
