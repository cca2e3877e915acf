/**
 * How far the others have come: a channel's watermarks by user, of the channels used latest. They only grow, in whatever
 * order they are heard of: by receipts, from the server's lists, or because somebody wrote, who has then read up to it.
 *
 * Receipts are state and reach only live sessions: what was missed has to be asked for. After a break the client does so
 * itself for the channels whose ticks the application looks at and where one of its messages is not yet read by all.
 */
import { MillraceError } from '../protocol/errors.ts';
import type { Conversations, Receipts as ReceiptList } from '../protocol/http.ts';
import { parseChannel, peerOf } from '../protocol/ids.ts';
import { Backoff, sleep } from './backoff.ts';
import type { ChannelEvent, ReceiptEvent } from './events.ts';

/** Channels remembered. */
const CHANNELS = 500;
/** Channels asked about after a break: those used latest. */
const ASKED_AGAIN = 10;

/** Up to which seq; what was read was also delivered. */
export interface Watermarks {
  readonly delivered: number;
  readonly read: number;
}

/** What the others have of one's own message: the least of them counts. */
export type Tick = 'sent' | 'delivered' | 'read';

export interface ReceiptsOptions {
  load: (channel: string) => Promise<ReceiptList['receipts']>;
  changed: (event: ReceiptEvent) => void;
  failed: (error: unknown) => void;
  random: () => number;
}

interface Known {
  readonly marks: Map<string, Watermarks>;
  /** The latest message written here. */
  own: number;
  /** The application has asked how far somebody is. */
  wanted: boolean;
}

export class Receipts {
  private me = '';
  /** The one used longest ago first. */
  private readonly channels = new Map<string, Known>();
  private missed = false;
  /** Aborts the questions of the session. */
  private asking = new AbortController();
  private readonly options: ReceiptsOptions;

  constructor(options: ReceiptsOptions) {
    this.options = options;
  }

  of(channel: string): ReadonlyMap<string, Watermarks> {
    const known = this.use(channel);
    known.wanted = true;
    return known.marks;
  }

  tick(channel: string, seq: number): Tick {
    return this.tickIn(channel, this.of(channel), seq);
  }

  raise(channel: string, user: string, { delivered, read }: Watermarks): void {
    const { marks } = this.use(channel);
    const before = marks.get(user);
    const mark = {
      delivered: Math.max(delivered, read, before?.delivered ?? 0),
      read: Math.max(read, before?.read ?? 0),
    };
    if (before !== undefined && before.delivered === mark.delivered && before.read === mark.read) return;
    marks.set(user, mark);
    // Nobody has to be told of somebody who has received nothing.
    if (mark.delivered > 0) this.options.changed({ channel, user, ...mark });
  }

  /** The answer to a load: all members, and only they. */
  loaded(channel: string, list: ReceiptList['receipts']): void {
    const known = this.use(channel);
    known.wanted = true;
    const members = new Set(list.map(({ user }) => user));
    for (const user of known.marks.keys()) if (!members.has(user)) known.marks.delete(user);
    for (const { user, delivered, read } of list) this.raise(channel, user, { delivered, read });
  }

  listed({ conversations }: Conversations): void {
    for (const { channel, peer } of conversations) {
      const other = peerOf(channel, this.me);
      if (peer !== undefined && other !== undefined) this.raise(channel, other, peer);
    }
  }

  /** An event is shown. */
  shown(event: ChannelEvent): void {
    const { channel, seq } = event;
    if (event.type === 'message') {
      this.raise(channel, event.from, { delivered: seq, read: seq });
      if (event.from === this.me) this.own(channel, seq);
    } else if (event.type === 'member') {
      const known = this.channels.get(channel);
      // What was there before their joining is not theirs to read.
      if (event.action === 'added') known?.marks.set(event.user, { delivered: seq, read: seq });
      else if (event.action === 'removed') known?.marks.delete(event.user);
    }
  }

  /** One's own message is stored. */
  own(channel: string, seq: number): void {
    const known = this.use(channel);
    known.own = Math.max(known.own, seq);
  }

  begin(me: string): void {
    this.me = me;
  }

  /** Receipts are missed: from here on in a break, or up to here when they were trimmed. */
  miss(): void {
    this.missed = true;
    this.stop();
  }

  stop(): void {
    this.asking.abort();
  }

  live(): void {
    if (!this.missed) return;
    this.missed = false;
    const open = [...this.channels]
      .filter(([channel, { marks, own, wanted }]) => wanted && this.tickIn(channel, marks, own) !== 'read')
      .map(([channel]) => channel);
    this.asking = new AbortController();
    void this.reload(open.slice(-ASKED_AGAIN), this.asking.signal);
  }

  private async reload(channels: readonly string[], signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ baseMs: 500, capMs: 30_000, random: this.options.random });
    for (const channel of channels) {
      while (!signal.aborted && !(await this.asked(channel, signal))) await sleep(backoff.next(), signal);
    }
  }

  /** False when it has to be asked again. */
  private async asked(channel: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.options.load(channel);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      const code = error instanceof MillraceError ? error.code : undefined;
      // The break may have been a server's end, and the call have gone to it too.
      if (code === 'unavailable' || code === 'rate_limited') return false;
      if (code === 'not_found' || code === 'forbidden') this.channels.delete(channel);
      else this.options.failed(error);
      return true;
    }
  }

  private tickIn(channel: string, marks: ReadonlyMap<string, Watermarks>, seq: number): Tick {
    const parsed = parseChannel(channel);
    const users = parsed?.kind === 'direct' ? [parsed.a, parsed.b] : [...marks.keys()];
    const others = users.filter((user) => user !== this.me);
    // Of a group of which nothing is known, nothing can be said; notes to oneself have no other reader.
    if (others.length === 0) return parsed?.kind === 'direct' ? 'read' : 'sent';
    const least = (of: keyof Watermarks) => Math.min(...others.map((user) => marks.get(user)?.[of] ?? 0));
    return least('read') >= seq ? 'read' : least('delivered') >= seq ? 'delivered' : 'sent';
  }

  private use(channel: string): Known {
    const known = this.channels.get(channel) ?? { marks: new Map(), own: 0, wanted: false };
    this.channels.delete(channel);
    this.channels.set(channel, known);
    if (this.channels.size > CHANNELS) this.channels.delete(this.channels.keys().next().value!);
    return known;
  }
}
