/**
 * The verbs of `lua/*.lua` over a node's state: the same decisions in the same order, without what decides nothing here
 * (metadata, snippets, bells, presence, push). `tie.test.ts` runs both side by side. Pure: a node and arguments in, the
 * node changed and a reply out.
 */
import type { Mark as RestoredMark } from '../../lib/redis/rebuild-verbs.ts';
import type { Mutant } from './mutants.ts';
import {
  type Channel,
  type Device,
  DIRECT,
  DORMANT_AFTER,
  type Entry,
  GROUP,
  IDS_PER_TICK,
  INBOX_ENTRIES,
  type Interval,
  KEEP_BEFORE_TRIM,
  NEVER,
  type Node,
  type User,
} from './state.ts';

export type AppendReply = { seq: number; message: number; duplicate: boolean } | 'not_found';
export interface Batch {
  source: number;
  target: number;
  after: number;
  last: number;
  floor: boolean;
  deliveries: { entry: Entry; recipients: number[] }[];
}
export type DeliverReply = { status: 'ok' | 'behind'; cursor: number };
export interface Attached {
  position: number;
  tail: number;
  acked: number;
  first: boolean;
  gap: boolean;
  /** The end of the conversation list is. */
  lost: boolean;
}
/** As `lua/reassert.lua` has them. */
export type Reasserted = 0 | 1 | 2 | 4 | 5;

/** A mark as the archive has it; of a mark that is there it says how that looked. */
export type Restored = Omit<RestoredMark, 'channel'> & { channel: number };

export const isPresent = (intervals: readonly Interval[]): boolean =>
  intervals.at(-1)?.left === Number.POSITIVE_INFINITY;
const isDormant = (seen: number, now: number): boolean => seen === NEVER || now - seen > DORMANT_AFTER;

export class Scripts {
  /** Of the store: every call is at a tick of its own. */
  now = 40; // ids soon have a digit more, which shows who compares them as text
  readonly #mutant: Mutant | undefined;

  constructor(mutant?: Mutant) {
    this.#mutant = mutant;
  }

  breaks(mutant: Mutant): boolean {
    return this.#mutant === mutant;
  }

  #nowId(): number {
    return this.now * IDS_PER_TICK;
  }

  // ── append.lua, create.lua, put_member.lua, remove_member.lua

  append(node: Node, from: number, via: number, channel: number, clientId: number, message: number): AppendReply {
    const state = node.channels[channel]!;
    if (!this.breaks('repeat-appended')) {
      for (const e of node.log) {
        if (e.channel === channel && e.from === from && e.clientId === clientId) {
          return { seq: e.seq, message: e.message, duplicate: true };
        }
      }
    }
    if (channel === GROUP && !isPresent(state.members[from]!)) return 'not_found';
    const entry = this.#event(node, state, { channel, from, message, clientId, via, kind: 'message', user: NEVER });
    // Who sends has read up to it.
    state.delivered[from] = entry.seq;
    return { seq: entry.seq, message, duplicate: false };
  }

  create(node: Node, members: readonly number[], message: number): void {
    const state = node.channels[GROUP]!;
    const about = { channel: GROUP, from: members[0]!, clientId: NEVER, via: NEVER, user: NEVER };
    const { seq } = this.#event(node, state, { ...about, message, kind: 'created' });
    state.members = state.members.map((_, u) =>
      members.includes(u) ? [{ joined: seq, left: Number.POSITIVE_INFINITY }] : [],
    );
  }

  /** True when it made an event. */
  putMember(node: Node, by: number, user: number, message: number): boolean {
    const state = node.channels[GROUP]!;
    const known = state.members[user]!;
    if (isPresent(known)) return false;
    const about = { channel: GROUP, from: by, clientId: NEVER, via: NEVER, user };
    const { seq } = this.#event(node, state, { ...about, message, kind: 'added' });
    state.members[user] = [...known, { joined: seq, left: Number.POSITIVE_INFINITY }];
    return true;
  }

  removeMember(node: Node, by: number, user: number, message: number): boolean {
    const state = node.channels[GROUP]!;
    const known = state.members[user]!;
    if (!isPresent(known)) return false;
    const about = { channel: GROUP, from: by, clientId: NEVER, via: NEVER, user };
    const { seq } = this.#event(node, state, { ...about, message, kind: 'removed' });
    state.members[user] = [...known.slice(0, -1), { joined: known.at(-1)!.joined, left: seq }];
    return true;
  }

  #event(node: Node, state: Channel, about: Omit<Entry, 'id' | 'seq' | 'mv'>): Entry {
    const id = Math.max(this.#nowId(), node.logLast + 1);
    const kept = () => node.log.filter((e) => e.channel === about.channel && e.id >= node.logStart).length;
    const seq = this.breaks('seq-of-length') ? kept() + 1 : state.seq + 1;
    if (about.kind !== 'message') state.membersVersion = seq;
    const entry = { ...about, id, seq, mv: state.membersVersion };
    node.log.push(entry);
    node.logLast = id;
    state.seq = seq;
    return entry;
  }

  // ── advance.lua

  /** `keepTail`: the log's tail is longer than what there is; else it has none. */
  advance(node: Node, to: number, keepTail: boolean): number {
    node.position = Math.max(node.position, to);
    if (keepTail) return 0;
    const lowest = Math.min(node.position, this.#nowId());
    const gone = node.log.filter((e) => e.id >= node.logStart && e.id < lowest).length;
    node.logStart = Math.max(node.logStart, lowest);
    if (gone > 0 && !this.breaks('log-trim-unmarked')) node.logTrimmed = Math.max(node.logTrimmed, lowest);
    return gone;
  }

  // ── deliver.lua

  deliver(node: Node, { source, after, last, floor, deliveries }: Batch): DeliverReply {
    const before = node.cursors[source]!;
    const isBefore = this.breaks('ids-as-text')
      ? (a: number, b: number) => String(a) < String(b)
      : (a: number, b: number) => a < b;
    const late = isBefore(before, after);
    if (late && !floor && !this.breaks('behind-accepted')) return { status: 'behind', cursor: before };
    for (const { entry, recipients } of deliveries) {
      if (!isBefore(before, entry.id) && !this.breaks('batch-again')) continue;
      for (const user of recipients) this.#deliverTo(node.users[user]!, user, entry);
    }
    const cursor = isBefore(before, last) ? last : before;
    if (floor && late && cursor !== before && !this.breaks('floor-forgotten')) node.floor = this.#nowId();
    if (!this.breaks('cursor-apart')) node.cursors[source] = cursor;
    return { status: 'ok', cursor };
  }

  #deliverTo(state: User, user: number, entry: Entry): void {
    if (entry.from === user && entry.kind === 'message') {
      const other = state.devices.some((d, i) => d && i !== entry.via && !isDormant(d.seen, this.now));
      if (other && !this.breaks('own-copy-omitted')) this.#push(state, entry);
    } else if (isDormant(state.seen, this.now) && state.sessions.every((s) => s === undefined)) {
      state.trimmed = Math.max(state.trimmed, this.#nowId());
    } else {
      this.#push(state, entry);
    }
    this.#mark(state, user, entry);
  }

  #push(state: User, entry: Entry): void {
    let offset = Math.max(this.#nowId(), state.last + 1);
    if (!state.exists) {
      // New: what an older offset might have missed can no longer be told.
      if (state.trimmed >= offset) offset = state.trimmed + 1;
      state.trimmed = Math.max(state.trimmed, offset - 1);
      state.exists = true;
    }
    state.items.push({ offset, entry });
    state.last = offset;
    if (state.items.length > INBOX_ENTRIES) {
      const removed = state.items.shift()!;
      if (!this.breaks('trim-unmarked')) state.trimmed = Math.max(state.trimmed, removed.offset);
    }
  }

  #mark(state: User, user: number, { channel, seq, kind, from, user: whose }: Entry): void {
    const known = state.marks[channel];
    if (known && seq <= known.last) return;
    let { unread, read } = known ?? { unread: 0, read: seq - 1 };
    let left = false;
    if (kind === 'message') {
      if (from === user) [unread, read] = [0, seq];
      else unread++;
    } else if (whose === user) {
      if (kind === 'removed') left = true;
      else if (kind === 'added') [unread, read] = [0, seq];
    }
    state.marks[channel] = { last: seq, unread, read, left };
  }

  // ── attach.lua, detach.lua, reassert.lua

  attach(node: Node, user: number, device: number, session: number, since: number | undefined): Attached {
    const state = node.users[user]!;
    const record = state.devices[device];
    let trimmed = state.trimmed;
    if (!state.exists) {
      state.exists = true;
      state.last = this.#nowId();
      state.items = [];
      trimmed = Math.max(trimmed, state.last - 1);
    }
    if (trimmed === NEVER) trimmed = state.last + 1;
    trimmed = Math.max(trimmed, node.floor);
    state.last = Math.max(state.last, trimmed);
    let tail = state.last;

    const stored = this.breaks('attach-at-end') ? undefined : record?.acked;
    let position = since ?? stored ?? tail;
    // Of a device that is not known no copy of its user's own messages was kept.
    const unknown = record === undefined && since !== undefined && !this.breaks('stranger-unnoticed');
    let gap = position < trimmed || unknown || this.#wasAway(record);
    if (this.breaks('since-unchecked')) gap = false;
    if (position > tail) {
      gap = true;
      if (position < (this.now + 1) * IDS_PER_TICK || this.breaks('future-since')) {
        if (!this.breaks('future-since')) state.last = tail = position;
      } else {
        position = tail;
      }
    }
    const acked = record && record.acked <= tail ? record.acked : position;
    state.devices[device] = { acked, seen: this.now };
    state.seen = this.now;
    state.trimmed = trimmed;
    state.sessions[device] = session;
    return { position, tail, acked, first: record === undefined, gap, lost: state.floor < node.floor };
  }

  #wasAway(record: Device | undefined): boolean {
    return record !== undefined && this.now - record.seen > DORMANT_AFTER && !this.breaks('sleep-unnoticed');
  }

  /** True when the session was still the device's. */
  detach(node: Node, user: number, device: number, session: number): boolean {
    const state = node.users[user]!;
    if (state.sessions[device] !== session) return false;
    state.sessions[device] = undefined;
    const record = state.devices[device];
    if (!record) return true;
    record.seen = this.now;
    state.seen = this.now;
    if (state.items.length > 0) this.#trimAcked(state);
    return true;
  }

  reassert(node: Node, user: number, device: number, session: number, reached: number): Reasserted {
    const state = node.users[user]!;
    const present = state.sessions[device];
    const record = state.devices[device];
    if (present !== undefined && present !== session) return 2;
    state.sessions[device] = session;
    if (!record) return 4;
    const away = this.#wasAway(record);
    record.seen = this.now;
    state.seen = this.now;
    if (state.exists && state.last < reached) {
      if (reached < (this.now + 1) * IDS_PER_TICK) state.last = reached;
      return 5;
    }
    if (away || state.trimmed > reached || node.floor > reached) return 5;
    return present === undefined ? 1 : 0;
  }

  // ── restore.lua

  /** How many marks are not as the caller saw them. */
  restore(node: Node, user: number, restored: readonly Restored[], floor: number): number {
    const state = node.users[user]!;
    let others = 0;
    for (const { channel, seenRead, seenLast, last, unread, read, left } of restored) {
      const present = state.marks[channel];
      if (present?.read !== seenRead || (seenLast !== undefined && seenLast !== present?.last)) others++;
      else if (!present) state.marks[channel] = { last, unread, read, left: false };
      else if (seenLast !== undefined)
        state.marks[channel] = { last, unread: present.unread + unread, read, left: left ?? false };
      else if (!present.left) state.marks[channel] = { ...present, unread: present.unread + unread, read };
    }
    if (others === 0) state.floor = floor;
    return others;
  }

  // ── ack.lua, raise.lua

  ack(node: Node, user: number, device: number, offset: number): boolean {
    const state = node.users[user]!;
    const record = state.devices[device];
    if (!record || record.acked >= offset) return false;
    state.devices[device] = { acked: offset, seen: this.now };
    state.seen = this.now;
    if (state.items.length > KEEP_BEFORE_TRIM) this.#trimAcked(state);
    return true;
  }

  /** What all live devices have acked, `trimmed` raised over it. */
  #trimAcked(state: User): void {
    const acks = state.devices.filter((d) => d && !isDormant(d.seen, this.now)).map((d) => d!.acked);
    if (acks.length === 0) return;
    const lowest = this.breaks('trim-by-first') ? Math.max(...acks) : Math.min(...acks);
    const held = state.items.length;
    state.items = state.items.filter((i) => i.offset > lowest);
    if (state.items.length < held) state.trimmed = Math.max(state.trimmed, lowest);
  }

  raise(node: Node, channel: number, user: number, delivered: number): number | 'refused' {
    const state = node.channels[channel]!;
    if (state.seq === 0 || (channel !== DIRECT && !isPresent(state.members[user]!))) return 'refused';
    state.delivered[user] = Math.max(state.delivered[user]!, Math.min(delivered, state.seq));
    return state.delivered[user]!;
  }
}
