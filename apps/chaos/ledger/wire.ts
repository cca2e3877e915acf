/**
 * What the server sent to one device, before the client library mended anything: it drops repetitions, waits for what is
 * out of order, and fills holes from history, and so would hide a server that loses, repeats and reorders.
 */
import { compareOffsets } from '../../../lib/client/offsets.ts';
import type { Findings } from './findings.ts';
import type { Entry } from './journal.ts';

interface Session {
  from: number;
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

type Wrong = 'sentTwice' | 'sentOutOfOrder';

export class Wire {
  /** The latest ones: a device has two for a moment when a server goes away. */
  readonly #sessions = new Map<number, Session>();
  readonly #channels = new Map<string, Channel>();
  readonly #wrong: { promise: Wrong; what: string; from: number; at: number }[] = [];

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
      session = { from: at, offset: '0-0', channels: new Map() };
      this.#sessions.set(number, session);
      this.#sessions.delete(number - 3);
    }
    const known = session.channels.get(channel) ?? { last: 0, recent: [] };
    session.channels.set(channel, known);
    const { from } = session;
    const wrong = (promise: Wrong, after: string | number) => {
      this.#wrong.push({ promise, what: `${channel} ${seq} at ${at} ms, as ${offset}, after ${after}`, from, at });
    };
    if (known.recent[seq % RECENT] === id) wrong('sentTwice', known.last);
    else if (seq <= known.last) wrong('sentOutOfOrder', known.last);
    else if (compareOffsets(offset, session.offset) <= 0) wrong('sentOutOfOrder', session.offset);
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

  /** `excuses`: for what happened in a session between these two times. */
  judge(device: string, findings: Findings, excuses: (from: number, to: number) => boolean = () => false): void {
    for (const { promise, what, from, at } of this.#wrong) {
      if (!excuses(from, at)) findings.add(promise, `${device}: ${what}`);
    }
  }
}
