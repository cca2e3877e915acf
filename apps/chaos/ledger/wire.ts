/**
 * What the server sent to one device, before the client library mended anything: it drops repetitions, waits for what is
 * out of order, and fills holes from history, and so would hide a server that loses, repeats and reorders.
 */
import { compareOffsets } from '../../../lib/client/offsets.ts';
import type { Findings } from './findings.ts';
import type { Entry } from './journal.ts';

interface Session {
  offset: string;
  /** channel → the highest seq, and the ids of the latest, by seq modulo RECENT. */
  channels: Map<string, { last: number; recent: string[] }>;
}

const RECENT = 128;

interface Channel {
  sent: boolean[];
  /** Up to here a gap was told. */
  excused: number;
}

type Wrong = [promise: 'sentTwice' | 'sentOutOfOrder', what: string];

export class Wire {
  /** The latest ones: a device has two for a moment when a server goes away. */
  readonly #sessions = new Map<number, Session>();
  readonly #channels = new Map<string, Channel>();
  readonly #wrong: Wrong[] = [];

  #channel(name: string): Channel {
    const known = this.#channels.get(name);
    if (known) return known;
    const made = { sent: [], excused: 0 };
    this.#channels.set(name, made);
    return made;
  }

  sent([, at, , number, channel, seq, id, offset]: Extract<Entry, { 0: 'sent' }>): void {
    let session = this.#sessions.get(number);
    if (!session) {
      session = { offset: '0-0', channels: new Map() };
      this.#sessions.set(number, session);
      this.#sessions.delete(number - 3);
    }
    const known = session.channels.get(channel) ?? { last: 0, recent: [] };
    session.channels.set(channel, known);
    const what = () => `${channel} ${seq} at ${at} ms, as ${offset}`;
    if (known.recent[seq % RECENT] === id) this.#wrong.push(['sentTwice', what()]);
    else if (seq <= known.last) this.#wrong.push(['sentOutOfOrder', `${what()}, after ${known.last}`]);
    else if (compareOffsets(offset, session.offset) <= 0)
      this.#wrong.push(['sentOutOfOrder', `${what()}, after ${session.offset}`]);
    known.recent[seq % RECENT] = id;
    known.last = Math.max(known.last, seq);
    session.offset = offset;
    this.#channel(channel).sent[seq] = true;
  }

  told([, , , , heads]: Extract<Entry, { 0: 'told' }>): void {
    for (const [name, seq] of heads) {
      const channel = this.#channel(name);
      channel.excused = Math.max(channel.excused, seq);
    }
  }

  /** It was sent, or a gap was told. */
  has(channel: string, seq: number): boolean {
    const known = this.#channels.get(channel);
    return known !== undefined && (known.sent[seq] === true || seq <= known.excused);
  }

  judge(device: string, findings: Findings): void {
    for (const [promise, what] of this.#wrong) findings.add(promise, `${device}: ${what}`);
  }
}
