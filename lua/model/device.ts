/**
 * A device, the session that a gateway has of it, and what it was shown. A device forgets nothing: its notes are what the
 * verdict is made of. The session follows `apps/gateway`: hub.ts (replay, live, gaps), sweep.ts (assert), acks.ts.
 */
import { isPresent } from './scripts.ts';
import { CHANNELS, DIRECT, type Entry, HOME_OF_USER, type Item, NEVER } from './state.ts';
import type { Store } from './store.ts';

interface Session {
  readonly id: number;
  offset: number;
  acked: number;
  /** What its hello acked and the store has not noted yet: from, to. */
  unknown: { from: number; to: number } | undefined;
  live: boolean;
  gapToldTo: number;
  /** The store may have lost its registration. */
  doubted: boolean;
  unacked: { offset: number; channel: number; seq: number }[];
  /** Message → which primary's inbox it came from. */
  readonly written: Map<number, number>;
}

export interface Shown {
  readonly entry: Entry;
  /** A gap had covered it: the device has it from history. */
  readonly covered: boolean;
}

export class Device {
  readonly user: number;
  readonly index: number;
  readonly shown: Shown[] = [];
  readonly has = new Set<number>();
  /** What the store's ack covered when it was stored. */
  readonly received = new Set<Entry>();
  /** By channel: up to which seq a gap sent it to history. */
  readonly covered: number[] = CHANNELS.map(() => 0);
  /** Since when it misses nothing; NEVER: no hello yet. */
  since = NEVER;
  /** Of the last frame that it had. */
  offset = NEVER;
  session: Session | undefined;
  /** What it was shown twice in one session, without a failover in between. */
  twice: Entry | undefined;
  readonly #store: Store;

  constructor(store: Store, user: number, index: number) {
    this.#store = store;
    this.user = user;
    this.index = index;
  }

  connect(id: number, since: number | undefined): void {
    const { session } = this;
    const reply = this.#store.attach(this.user, this.index, id, since);
    if (reply.lost) this.#putListBack();
    // The one that it replaces is closed, and its close handler comes late.
    if (session) this.#store.detach(this.user, this.index, session.id);
    this.session = {
      id,
      offset: reply.position,
      acked: reply.position,
      unknown: reply.position > reply.acked ? { from: reply.acked, to: reply.position } : undefined,
      live: false,
      gapToldTo: NEVER,
      doubted: false,
      unacked: [],
      written: new Map(),
    };
    this.offset = reply.position;
    // `resumed: false` says that the server knows nothing of it: from now on it misses nothing.
    if (this.since === NEVER || (reply.first && since === undefined)) this.since = this.#store.now;
    if (reply.gap) this.#tellGap(this.session);
  }

  close(): void {
    if (this.session) this.#store.detach(this.user, this.index, this.session.id);
    this.session = undefined;
  }

  /** Its gateway is killed: nothing is detached. */
  kill(): void {
    this.session = undefined;
  }

  /** The client fills from history what the gap names, and nothing else. */
  #tellGap(session: Session): void {
    const { floor, users } = this.#store.nodeOf(this.user);
    const { trimmed, marks, floor: reached } = users[this.user]!;
    if (reached >= floor) session.gapToldTo = Math.max(session.gapToldTo, trimmed, floor);
    for (const [channel, mark] of marks.entries()) {
      if (mark) this.covered[channel] = Math.max(this.covered[channel]!, mark.last);
    }
  }

  #putListBack(): void {
    if (!this.#store.breaks('list-left-behind')) this.#store.restore(this.user);
  }

  /** One read of the inbox. Returns whether there may be more. */
  read(count: number): boolean {
    const { session } = this;
    if (!session) return false;
    const { items, trimmed } = this.#store.nodeOf(this.user).users[this.user]!;
    const found = items.filter((i) => i.offset > session.offset).slice(0, count);
    const full = found.length === count;
    if (session.live) {
      const unchecked = !full || this.#store.breaks('overflow-unchecked');
      if (!unchecked && trimmed > session.offset && trimmed > session.gapToldTo) this.#tellGap(session);
      this.#write(session, found);
      return found.length > 0;
    }
    if (trimmed > Math.max(session.offset, session.gapToldTo)) this.#tellGap(session);
    this.#write(session, found);
    if (found.length === 0) session.offset = Math.max(session.offset, trimmed);
    session.live = !full;
    this.offset = Math.max(this.offset, session.offset);
    return true;
  }

  #write(session: Session, items: readonly Item[]): void {
    const primary = this.#store.failovers[HOME_OF_USER[this.user]!]!;
    for (const { offset, entry } of items) {
      session.offset = offset;
      this.offset = offset;
      if (entry.kind === 'message' && entry.from !== this.user) {
        session.unacked.push({ offset, channel: entry.channel, seq: entry.seq });
      }
      if (session.written.get(entry.message) === primary) this.twice = entry;
      session.written.set(entry.message, primary);
      if (this.has.has(entry.message)) continue;
      this.has.add(entry.message);
      this.shown.push({ entry, covered: entry.seq <= this.covered[entry.channel]! });
    }
  }

  /** `killed`: the gateway dies between the two things that an ack is. */
  ack(killed: boolean): void {
    const { session } = this;
    if (!session) return;
    const { offset, unknown } = session;
    if (offset <= session.acked && !unknown) return;
    const covers = [0, 0];
    if (unknown) {
      for (const { offset: at, entry } of this.#store.nodeOf(this.user).users[this.user]!.items) {
        const other = entry.kind === 'message' && entry.from !== this.user;
        if (other && at > unknown.from && at <= unknown.to)
          covers[entry.channel] = Math.max(covers[entry.channel]!, entry.seq);
      }
    }
    for (const { channel, seq } of session.unacked) covers[channel] = Math.max(covers[channel]!, seq);
    const raise = () => {
      for (const channel of CHANNELS) if (covers[channel]! > 0) this.#store.raise(channel, this.user, covers[channel]!);
    };
    const store = () => {
      const { items, devices } = this.#store.nodeOf(this.user).users[this.user]!;
      const before = devices[this.index]?.acked ?? offset;
      for (const { offset: at, entry } of items) {
        if (at > before && at <= offset && this.#isMemberOf(entry.channel)) this.received.add(entry);
      }
      this.#store.ack(this.user, this.index, offset);
    };
    const [first, second] = this.#store.breaks('ack-before-receipts') ? [store, raise] : [raise, store];
    first();
    if (killed) {
      this.kill();
      return;
    }
    second();
    session.acked = Math.max(session.acked, offset);
    session.unknown = undefined;
    session.unacked = [];
  }

  #isMemberOf(channel: number): boolean {
    return channel === DIRECT || isPresent(this.#store.nodeOfChannel(channel).channels[channel]!.members[this.user]!);
  }

  doubt(): void {
    if (this.session) this.session.doubted = true;
  }

  /** After a failover, and when a floor was raised. */
  assert(): void {
    const { session } = this;
    if (!session?.doubted || this.#store.breaks('never-asserted')) return;
    session.doubted = false;
    const reached = Math.max(session.offset, session.gapToldTo);
    const reply = this.#store.reassert(this.user, this.index, session.id, reached);
    if (reply === 2) this.close();
    if (reply === 4) {
      const { gap, lost } = this.#store.attach(this.user, this.index, session.id, session.acked);
      if (lost) this.#putListBack();
      if (gap) this.#tellGap(session);
    }
    if (reply === 5) {
      const { floor, users } = this.#store.nodeOf(this.user);
      if (users[this.user]!.floor < floor) this.#putListBack();
      this.#tellGap(session);
    }
  }
}
