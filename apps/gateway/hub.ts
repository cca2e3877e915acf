/**
 * The sessions of this gateway, the feeds that they share per user, and the lanes that read for them.
 *
 * Holds nothing that cannot be rebuilt: a client resumes from its offset on any other gateway.
 */
import { MillraceError } from '../../lib/protocol/errors.ts';
import { isBehind, type Restoring } from '../../lib/rebuild/index.ts';
import type { Head } from '../../lib/rebuild/lists.ts';
import type { StreamBatch, StreamEntry } from '../../lib/redis/blocking.ts';
import { compareIds, maxId, ZERO } from '../../lib/redis/ids.ts';
import type { Attached } from '../../lib/redis/verbs.ts';
import { Acks } from './acks.ts';
import type { GatewayContext } from './context.ts';
import { Drain } from './drain.ts';
import { Feed } from './feed.ts';
import { Lane } from './lane.ts';
import { GatewayLease, type LeaseTimes } from './lease.ts';
import { Reads } from './reads.ts';
import { Receipts } from './receipts.ts';
import { Registrations } from './registrations.ts';
import { Renderer } from './render.ts';
import type { Session } from './session.ts';
import { Signals, type SignalTimes } from './signals.ts';
import { Sweeper } from './sweep.ts';
import { Turns } from './turns.ts';

/**
 * A replay that was rung at while it read the end reads again, so often at most: then the feed's next read brings the rest.
 * For a user to whom something comes in every round trip to the store it would never end.
 */
const MOST_RUNG = 3;
/** Entries that a replay reads at a time. */
const REPLAY_COUNT = 64;
/** Where receipts were dropped, at least so many are left: as `lua/include/inbox.lua` has it. */
const RECEIPTS_KEPT = 16;
/** Thousands who leave at once do not hold up the sends of those who stay: so few begin in a turn. */
const LEAVERS_PER_TURN = 8;

export class Hub {
  readonly ctx: GatewayContext;
  readonly sessions = new Map<string, Session>();
  readonly receipts: Receipts;
  readonly reads: Reads;
  readonly acks: Acks;
  readonly registrations: Registrations;
  readonly drain = new Drain(this);
  readonly signals: Signals;
  readonly #feeds = new Map<string, Feed>();
  readonly #lanes: Lane[];
  readonly #laneOf: Lane[] = [];
  readonly #renderer = new Renderer();
  readonly #sweeper: Sweeper;
  readonly #lease: GatewayLease;
  readonly #departing = new Set<Promise<void>>();
  readonly #leavers = new Turns(LEAVERS_PER_TURN);

  constructor(ctx: GatewayContext, times: Partial<LeaseTimes> & SignalTimes = {}) {
    this.ctx = ctx;
    this.receipts = new Receipts(ctx, (user) => this.#feeds.get(user)?.own);
    this.reads = new Reads(this.receipts);
    this.acks = new Acks(ctx, this.receipts);
    this.registrations = new Registrations(ctx);
    this.signals = new Signals(ctx, (user) => this.#feeds.get(user), times);
    const all = Array.from({ length: ctx.keys.partitions }, (_, p) => p);
    this.#sweeper = new Sweeper(this);
    this.#lanes = ctx.store.groups(all).map((group) => {
      const lane = new Lane(ctx, group, {
        feedOf: (user) => this.#feeds.get(user),
        feeds: () => this.#feeds.values(),
        onEntries: (feed, batch, full) => this.#onEntries(feed, batch, full),
        onReplaced: (id) => this.sessions.get(id)?.close('replaced'),
        onEnded: (id) => this.sessions.get(id)?.close('unauthenticated', 'the user was erased'),
        onOverlooked: (feed) => this.#sweeper.assert([feed]),
        onReconnect: () => this.#sweeper.assert(this.#feedsOf(group)),
        onBatch: () => this.#renderer.clear(),
      });
      for (const p of group) this.#laneOf[p] = lane;
      return lane;
    });
    this.#sweeper.start();
    const events = {
      onForgotten: (p: number) => this.#sweeper.assert(this.#feedsOf([p])),
      onSurplus: (p: number) => void this.registrations.detachSurplus(p, (id) => this.sessions.has(id)),
    };
    this.#lease = new GatewayLease(ctx, this.registrations, events, times);
  }

  /** Live feeds, in no order. */
  feeds(): Iterable<Feed> {
    return this.#feeds.values();
  }

  #feedsOf(partitions: readonly number[]): Feed[] {
    return [...this.#feeds.values()].filter((feed) => partitions.includes(feed.partition));
  }

  mark(feed: Feed, cause: Feed['cause']): void {
    this.#laneOf[feed.partition]?.mark(feed, cause);
  }

  /** Puts an attached session among its user's; from now on rings count for it. */
  join(session: Session, user: string, attached: Attached): Feed {
    let feed = this.#feeds.get(user);
    if (!feed) {
      feed = new Feed(user, this.ctx.keys.partitionOf(user), this.ctx.keys.inbox(user), attached.position);
      this.#feeds.set(user, feed);
    } else if (attached.gap) feed.doubted = true; // it may be one of the other sessions, too
    feed.sessions.add(session);
    session.feed = feed;
    this.ctx.metrics.sessions.inc();
    return feed;
  }

  /** The store has forgotten the device: as good as a new hello of it, on the same socket. */
  async attachAgain(session: Session): Promise<void> {
    const { feed } = session;
    if (!feed) return;
    const attached = await this.registrations.attach(session, feed.user, session.acked).catch((error: unknown) => {
      if (error instanceof MillraceError) return error;
      throw error;
    });
    if (attached instanceof MillraceError) return session.close('unauthenticated', 'the user was erased');
    if (attached === 'too_many') return session.close('tooManySessions');
    let list: Restoring | undefined;
    try {
      if (attached.lost) list = await this.ctx.rebuild.atOnce(feed.user);
    } catch (error) {
      return this.#resumeLater(session, error);
    }
    if (attached.gap) await this.tellGap(session, session.offset, attached.oldest, list?.missing);
    this.tellWhenWhole(session, list);
  }

  /** Something that the session has not been sent is gone, or may be. */
  async missed(session: Session): Promise<void> {
    let list: Restoring | undefined;
    try {
      list = await this.ctx.rebuild.afterFloor(session.feed?.user ?? '');
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error; // the store's: tried again
      return this.#resumeLater(session, error);
    }
    await this.tellGap(session, session.offset, null, list?.missing);
    this.tellWhenWhole(session, list);
  }

  /** What was accepted and not archived, in channels whose server was away, is told of by another gap. */
  tellWhenWhole(session: Session, list: Restoring | undefined): void {
    if (!list || list.missing.length === 0) return;
    list.whole
      .then(() => (session.open ? this.tellGap(session, session.offset, null) : undefined))
      .catch((error: unknown) => this.#resumeLater(session, error));
  }

  #resumeLater(session: Session, error: unknown): void {
    const { user } = session.caller ?? {};
    this.ctx.logger.warn({ err: error, user }, 'a conversation list is not back yet; the client resumes');
    session.close('goingAway', 'the store lost something');
  }

  /** Takes a closed session out, and detaches it in the store, however often that has to be asked. */
  async depart(session: Session): Promise<void> {
    this.sessions.delete(session.id);
    this.signals.watches.forget(session);
    const { feed } = session;
    if (!feed?.sessions.delete(session)) return;
    feed.live.delete(session);
    this.ctx.metrics.sessions.dec();
    if (feed.sessions.size === 0) {
      this.#feeds.delete(feed.user);
      this.receipts.tellOwed(feed.own.take());
      this.#laneOf[feed.partition]?.forget(feed);
    }
    await this.abandon(session, feed.user);
  }

  /** Detaches a session that is not one any more, or whose attach failed: it may have happened all the same. */
  async abandon(session: Session, user: string): Promise<void> {
    const detached = this.#detach(session, user);
    this.#departing.add(detached);
    await detached;
    this.#departing.delete(detached);
  }

  async #detach(session: Session, user: string): Promise<void> {
    await this.#leavers.next();
    await this.acks.settle(session.id);
    await this.registrations.detach(session, user);
  }

  /** Sends a session what its inbox holds beyond its offset, until it has reached the feed and is live. */
  async replay(session: Session): Promise<void> {
    const { feed } = session;
    if (!feed) return;
    session.state = 'replaying';
    const renderer = new Renderer();
    let rung = 0;
    while (session.open && session.state === 'replaying') {
      if (session.congested) return this.#pause(session);
      const from = session.offset;
      const { rings, position } = feed;
      this.ctx.metrics.inboxReads.of('replay').inc();
      // In this order: what is trimmed after the read was still in it, so a gap may be told too often, never too seldom.
      const [entries, [trimmed, dropped]] = await Promise.all([
        this.ctx.store.command.xrange(feed.inboxKey, `(${from}`, '+', 'COUNT', REPLAY_COUNT),
        this.ctx.store.command.hmget(this.ctx.keys.devices(feed.user), 'trimmed', 'dropped'),
      ]);
      if (compareIds(missing(session, trimmed, dropped), maxId(from, session.gapToldTo)) > 0)
        await this.tellGap(session, from, entries[0]?.[0] ?? null);
      if (!session.open) return;
      const list = entries.map(([id, fields]): StreamEntry => ({ id, fields }));
      this.ctx.metrics.delivered.inc(session.write(list, renderer));
      this.signals.watches.sights.met(session, list);
      if (list.some(({ fields }) => isOwn(fields, feed.user))) this.receipts.tellOwed(feed.own.copied());
      renderer.clear();
      // No entry is left between a trimmed stretch and what comes next.
      if (list.length === 0 && trimmed) session.offset = maxId(session.offset, trimmed);
      const atEnd = list.length < REPLAY_COUNT && (list.length === 0 || session.offset === list.at(-1)?.id);
      const again = feed.rings !== rings;
      if (!atEnd || (again && ++rung < MOST_RUNG)) continue;
      // The live sessions were there before this read: what they have beyond its end is no entry (a tail that was lost).
      session.offset = maxId(session.offset, position);
      if (feed.live.size === 0) feed.position = session.offset;
      else if (compareIds(session.offset, feed.position) < 0) continue;
      session.state = 'live';
      feed.live.add(session);
      if (again) this.mark(feed, 'replay');
      if (!session.liveTold) {
        session.liveTold = true;
        session.send({ type: 'live', offset: session.offset });
      }
    }
  }

  /**
   * With it go the heads of the user's channels, so that the client knows what to fill: not of those that the user has left,
   * whose history may not be read. They cover what was trimmed before they were read, and nothing later: a client that stops
   * reading right after a gap may have to be told another. `missing`: heads that are not back in the list yet.
   */
  async tellGap(session: Session, since: string, oldest: string | null, missing: readonly Head[] = []): Promise<void> {
    const user = session.feed?.user ?? '';
    const { command } = this.ctx.store;
    const [[trimmed, dropped, reached], floor, conversations] = await Promise.all([
      command.hmget(this.ctx.keys.devices(user), 'trimmed', 'dropped', 'floor'),
      command.hget(this.ctx.keys.cursor(this.ctx.keys.partitionOf(user)), 'floor'),
      command.hgetall(this.ctx.keys.conversations(user)),
    ]);
    // Before the list is back from the archive, the heads are of before the loss: that gap is still to be told.
    if (!isBehind(reached, floor))
      session.gapToldTo = [session.gapToldTo, trimmed ?? ZERO, dropped ?? ZERO, floor ?? ZERO].reduce(maxId);
    const listed = Object.entries(conversations)
      .filter(([, mark]) => !mark.endsWith(' left'))
      .map(([channel, mark]) => ({ channel, last_seq: Number(mark.slice(0, mark.indexOf(' '))) }));
    const channels = [...listed, ...missing.filter(({ channel }) => conversations[channel] === undefined)];
    this.ctx.metrics.gaps.inc();
    session.send({ type: 'gap', since, oldest, channels });
  }

  #onEntries(feed: Feed, batch: StreamBatch, full: boolean): Promise<void> | undefined {
    // An overflow leaves a full inbox, or many receipts: only then, or when the store lost something, can something between
    // the position and the first entry be gone.
    const look = full || feed.gapPending || feed.doubted || hasManyReceipts(batch.entries);
    if (look) return this.#afterGapCheck(feed, batch.entries);
    this.#hand(feed, batch.entries);
    return undefined;
  }

  async #afterGapCheck(feed: Feed, entries: StreamEntry[]): Promise<void> {
    const { doubted } = feed;
    feed.doubted = false;
    try {
      await this.#tellGaps(feed, entries[0]?.id ?? null, doubted);
    } catch (error) {
      feed.doubted ||= doubted;
      throw error;
    }
    feed.gapPending = false;
    this.#hand(feed, entries);
  }

  async #tellGaps(feed: Feed, oldest: string | null, doubted: boolean): Promise<void> {
    const { command } = this.ctx.store;
    const devices = this.ctx.keys.devices(feed.user);
    const [[trimmed, dropped], floor] = await Promise.all([
      command.hmget(devices, 'trimmed', 'dropped').catch((error: Error) => {
        // Of the wrong type: fan-out sets this user aside, and the repair is a gap. Nobody else waits for it.
        if (error.message.startsWith('WRONGTYPE')) return [];
        throw error;
      }),
      doubted ? command.hget(this.ctx.keys.cursor(feed.partition), 'floor') : null,
    ]);
    for (const session of feed.live) {
      const gone = maxId(missing(session, trimmed, dropped), floor ?? ZERO);
      if (!feed.gapPending && compareIds(gone, feed.position) <= 0) continue;
      if (compareIds(gone, session.gapToldTo) > 0) await this.tellGap(session, session.offset, oldest);
    }
  }

  #hand(feed: Feed, entries: StreamEntry[]): void {
    const last = entries.at(-1);
    if (!last) return;
    feed.position = last.id;
    const now = Date.now();
    for (const session of feed.live) {
      const written = session.write(entries, this.#renderer);
      this.ctx.metrics.delivered.inc(written);
      this.signals.watches.sights.met(session, entries);
      if (session.offset !== last.id && compareIds(session.offset, last.id) < 0) this.#pause(session);
    }
    for (const { fields } of entries) {
      if (fields[1] !== 'message') continue;
      this.ctx.metrics.deliveryLatency.observe(Math.max(0, now - Number(fields[13])) / 1000);
      if (isOwn(fields, feed.user)) this.receipts.tellOwed(feed.own.copied());
    }
  }

  /** The client does not read: nothing more is fetched for it until its socket has drained. */
  #pause(session: Session): void {
    session.feed?.live.delete(session);
    session.state = 'paused';
    this.ctx.metrics.pausedSessions.inc();
    let done = false;
    const resume = () => {
      if (done) return;
      done = true;
      session.raw.off('drain', resume);
      session.raw.off('close', resume);
      this.ctx.metrics.pausedSessions.dec();
      if (session.state === 'paused') this.startReplay(session);
    };
    // A batch that was more than the bound and that the kernel took whole leaves nothing to drain, and no event comes.
    if (!session.raw.writableNeedDrain) return void setImmediate(resume);
    session.raw.once('drain', resume);
    session.raw.once('close', resume);
  }

  /** Replays, and closes the session when the store does not answer: the client resumes. */
  startReplay(session: Session): void {
    this.replay(session).catch((error: unknown) => {
      this.ctx.logger.warn({ err: error, user: session.caller?.user }, 'a replay failed; the client resumes');
      session.close('goingAway', 'the store does not answer');
    });
  }

  async stop(): Promise<void> {
    this.registrations.stop();
    this.#sweeper.stop();
    this.signals.stop();
    this.receipts.stop();
    await Promise.all([this.reads.flush(), this.acks.flush()]);
    this.acks.stop();
    await Promise.all(this.#departing);
    await this.#lease.stop();
    await Promise.all(this.#lanes.map((lane) => lane.stop()));
  }
}

/**
 * Up to where something that the session has to be told may be gone. Receipts are state, which one who comes back reads: only
 * those that were told since it came are missing.
 */
function missing(session: Session, trimmed: string | null | undefined, dropped: string | null | undefined): string {
  const receipts = dropped && compareIds(dropped, session.resumedTo) > 0 ? dropped : ZERO;
  return maxId(trimmed ?? ZERO, receipts);
}

/** A message that the user wrote: it comes only to who has another device. */
function isOwn(fields: readonly string[], user: string): boolean {
  return fields[1] === 'message' && fields[9] === user;
}

function hasManyReceipts(entries: readonly StreamEntry[]): boolean {
  if (entries.length < RECEIPTS_KEPT) return false;
  return entries.filter(({ fields }) => fields[1] === 'receipt').length >= RECEIPTS_KEPT;
}
