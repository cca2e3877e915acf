/**
 * A lane waits for all the inboxes whose partitions one command may read, at the cost of what is delivered and not of
 * what is watched (design §5): it blocks on the gateway's bells, then reads exactly the inboxes that rang.
 *
 * Invariant: a feed is in the dirty set from the moment that its inbox may hold something beyond its position, until a
 * read of it came back short; or among those for later, when that is a receipt. A ring is a hint; what a lost one would
 * hide, the sweep finds.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockingConnection, StreamBatch } from '../../lib/redis/blocking.ts';
import { backOff } from '../../lib/redis/follow.ts';
import { ZERO } from '../../lib/redis/ids.ts';
import { busyIntervalMs } from '../../lib/redis/interval.ts';
import { BELL_ENTRIES } from '../../lib/redis/verbs.ts';
import type { GatewayContext } from './context.ts';
import type { Feed } from './feed.ts';

/**
 * Inboxes per read, and entries of all of them together: bounds the reply to some two megabytes at 500-byte messages.
 * A lone busy inbox is read in long stretches, or its writers would outrun us and fill it.
 */
const FEEDS_PER_READ = 128;
const ENTRIES_PER_READ = 2048;
const LONGEST_STRETCH = 128;
const BLOCK_MS = 500;
const BUSY_FOR_MS = 20;
/** A receipt waits so long for something else to the same user: a read and a write to a socket cost more than it does. */
const LATER_MS = 200;

export interface LaneEvents {
  feedOf(user: string): Feed | undefined;
  feeds(): Iterable<Feed>;
  /** What the inbox holds beyond the feed's position; `full`: there may be more. Moves the position. */
  onEntries(feed: Feed, batch: StreamBatch, full: boolean): Promise<void> | undefined;
  onReplaced(session: string): void;
  /** The session has ended for good: its user is being erased. */
  onEnded(session: string): void;
  /** A sweep found what no ring told of, or an inbox that cannot be read. */
  onOverlooked(feed: Feed): void;
  /** The connection is a new one, perhaps to another server. */
  onReconnect(): void;
  /** A batch has been handed out. */
  onBatch(): void;
}

export class Lane {
  readonly #ctx: GatewayContext;
  readonly #events: LaneEvents;
  readonly #partitions: readonly number[];
  readonly #bells = new Map<string, string>();
  readonly #dirty = new Set<Feed>();
  /** Those of which only a receipt is known. */
  readonly #later = new Set<Feed>();
  /** When they become dirty, all of them together (`performance.now()`). */
  #laterDue = 0;
  readonly #loop: Promise<void>;
  #connection: BlockingConnection | undefined;
  #stopping = false;

  constructor(ctx: GatewayContext, partitions: readonly number[], events: LaneEvents) {
    this.#ctx = ctx;
    this.#partitions = partitions;
    this.#events = events;
    // The name carries the incarnation, so the bells are new: from their very beginning.
    for (const p of partitions) this.#bells.set(ctx.keys.bell(p, ctx.incarnation), ZERO);
    this.#loop = this.#run();
  }

  /** To be read soon: at the latest after one block. */
  mark(feed: Feed, cause: Feed['cause']): void {
    feed.rings++;
    if (!this.#dirty.has(feed)) feed.cause = this.#later.has(feed) ? 'ring' : cause;
    this.#later.delete(feed);
    this.#dirty.add(feed);
  }

  forget(feed: Feed): void {
    this.#dirty.delete(feed);
    this.#later.delete(feed);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#connection?.close();
    await this.#loop;
  }

  async #run(): Promise<void> {
    let busyUntil = 0;
    for (let failures = 0; !this.#stopping; ) {
      try {
        const connection = await this.#connect();
        const rings = await this.#listen(connection);
        const rungAt = performance.now();
        let entries = 0;
        while (this.#dirty.size > 0 && !this.#stopping) {
          entries += await this.#read(connection);
          if (this.#dirty.size > 0) await this.#listen(connection);
        }
        failures = 0;
        const now = performance.now();
        const pause = (rings > 1 || entries > 1 || now < busyUntil) && rings > 0;
        if (rings > 0) busyUntil = now + BUSY_FOR_MS;
        const left = busyIntervalMs(entries) - (now - rungAt);
        if (pause && left > 0) await sleep(left);
      } catch (error) {
        if (this.#stopping) return;
        this.#ctx.metrics.retries.of('lane').inc();
        this.#ctx.logger.warn({ err: error, partitions: this.#partitions }, 'reading inboxes failed, trying again');
        await backOff(failures++);
      }
    }
  }

  async #connect(): Promise<BlockingConnection> {
    if (this.#connection) return this.#connection;
    const connection = await this.#ctx.store.blocking(this.#partitions[0] ?? 0, this.#ctx.keys.partitions);
    connection.onReconnect(() => {
      this.#markAll();
      this.#events.onReconnect();
    });
    this.#connection = connection;
    return connection;
  }

  #markAll(): void {
    for (const feed of this.#events.feeds()) if (this.#partitions.includes(feed.partition)) this.mark(feed, 'ring');
  }

  /** Waits for a ring unless something is dirty. Returns how many entries the bells had. */
  async #listen(connection: BlockingConnection): Promise<number> {
    const streams = [...this.#bells].map(([key, after]) => ({ key, after }));
    const longest = this.#later.size > 0 ? Math.max(1, this.#laterDue - performance.now()) : BLOCK_MS;
    const wait = this.#dirty.size > 0 ? {} : { blockMs: Math.min(BLOCK_MS, longest) };
    const batches = await connection.xread(streams, { count: BELL_ENTRIES, ...wait });
    let rings = 0;
    for (const { key, entries } of batches) {
      this.#bells.set(key, entries.at(-1)?.id ?? ZERO);
      rings += entries.length;
      if (entries.length >= BELL_ENTRIES) this.#markAll(); // it may have been cut: rings are lost
      for (const { fields } of entries) {
        if (fields[0] === 'replaced') this.#events.onReplaced(fields[1] ?? '');
        else if (fields[0] === 'ended') this.#events.onEnded(fields[1] ?? '');
        else if (fields[0] === 'users') this.#ring(fields[1] ?? '', fields[2] === 'later');
      }
    }
    if (performance.now() >= this.#laterDue) for (const feed of this.#later) this.mark(feed, 'ring');
    this.#ctx.metrics.rings.inc(rings);
    return rings;
  }

  #ring(users: string, later: boolean): void {
    for (const user of users.split(' ')) {
      const feed = this.#events.feedOf(user);
      if (!feed) continue;
      if (!later) {
        this.mark(feed, 'ring');
      } else if (!this.#dirty.has(feed)) {
        if (this.#later.size === 0) this.#laterDue = performance.now() + LATER_MS;
        this.#later.add(feed);
      }
    }
  }

  async #read(connection: BlockingConnection): Promise<number> {
    const feeds: Feed[] = [];
    for (const feed of this.#dirty) {
      if (feed.live.size === 0) this.#dirty.delete(feed);
      else if (feeds.push(feed) >= FEEDS_PER_READ) break;
    }
    if (feeds.length === 0) return 0;
    const rings = feeds.map((feed) => feed.rings);
    const count = Math.min(LONGEST_STRETCH, Math.floor(ENTRIES_PER_READ / feeds.length));
    const batches = await this.#readInboxes(connection, feeds, count);
    const byKey = new Map(batches.map((batch) => [batch.key, batch]));
    let entries = 0;
    /** Of feeds that ask the store before they hand out: after a failover all do, and would wait for each other. */
    const asking: Promise<void>[] = [];
    for (const [i, feed] of feeds.entries()) {
      // A session may have joined over this read, and asked for another.
      const again = feed.rings !== rings[i];
      this.#ctx.metrics.inboxReads.of(feed.cause).inc();
      const batch = byKey.get(feed.inboxKey);
      const full = batch !== undefined && batch.entries.length >= count;
      if (batch) this.#ctx.metrics.inboxFinds.of(feed.cause).inc();
      if (feed.cause === 'sweep' && (batch || feed.broken)) this.#events.onOverlooked(feed);
      // Repaired, and nothing new: what was set aside meanwhile is told of all the same.
      if (!batch && !feed.gapPending) {
        if (!again) this.#dirty.delete(feed);
        continue;
      }
      entries += batch?.entries.length ?? 0;
      const handed = () => {
        this.#dirty.delete(feed);
        if (full || feed.rings !== rings[i]) this.#dirty.add(feed); // to the end of the line
      };
      const handing = this.#events.onEntries(feed, batch ?? { key: feed.inboxKey, entries: [] }, full);
      if (handing)
        asking.push(handing.then(handed)); // when it fails the feed stays dirty
      else handed();
    }
    // None is read again before all are through: it would be handed out twice.
    const failed = (await Promise.allSettled(asking)).find((asked) => asked.status === 'rejected');
    this.#events.onBatch();
    if (failed) throw failed.reason;
    return entries;
  }

  /** One user's inbox of the wrong type must not keep the others from theirs. */
  async #readInboxes(connection: BlockingConnection, feeds: Feed[], count: number): Promise<StreamBatch[]> {
    const read = (some: Feed[]) =>
      connection.xread(
        some.map((feed) => ({ key: feed.inboxKey, after: feed.position })),
        { count },
      );
    try {
      const batches = await read(feeds);
      for (const feed of feeds) if (feed.broken) this.#repaired(feed);
      return batches;
    } catch (error) {
      if (!(error instanceof Error) || !error.message.includes('WRONGTYPE')) throw error;
      if (feeds.length > 1) {
        const half = feeds.length >> 1;
        const first = await this.#readInboxes(connection, feeds.slice(0, half), count);
        return [...first, ...(await this.#readInboxes(connection, feeds.slice(half), count))];
      }
      const [feed] = feeds;
      if (feed && !feed.broken) {
        feed.broken = true;
        this.#ctx.logger.error(
          { user: feed.user, key: feed.inboxKey },
          'an inbox has the wrong type: its user is set aside',
        );
      }
      return [];
    }
  }

  #repaired(feed: Feed): void {
    feed.broken = false;
    feed.gapPending = true;
  }
}
