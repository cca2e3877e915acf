/**
 * What no ring tells of. Each feed is read once every 30 s even when nothing rang: a sweep that finds something counts in
 * `inbox_finds_total{cause="sweep"}`; normal is 0.
 *
 * Registrations are asserted again when there is a reason to doubt them (another server, a lease that had lapsed, a sweep
 * that found something), and otherwise each about every two hours, which keeps devices and inboxes alive: at every sweep it
 * would be most of what idle sessions cost. Paced: the whole deployment may have the same reason at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { backOff } from '../../lib/redis/follow.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { Reasserted } from '../../lib/redis/verbs.ts';
import type { Feed } from './feed.ts';
import type { Hub } from './hub.ts';
import type { Session } from './session.ts';

const EVERY_MS = 30_000;
const ASSERT_EVERY_MS = 2 * 3600_000;
/** The round is spread out: one slice of the feeds each. */
const SLICES = 30;
const SESSIONS_PER_CALL = 64;
/** Between two calls: three thousand sessions a second, a few percent of a Redis. */
const PACE_MS = 20;

export class Sweeper {
  readonly #hub: Hub;
  /** Feeds to assert, by what one command may touch. */
  readonly #doubted = new Map<number, Set<Feed>>();
  #timer: NodeJS.Timeout | undefined;
  #queue: Feed[] = [];
  #per = 1;
  #stopping = false;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  start(): void {
    this.#timer = setInterval(() => this.#slice(), EVERY_MS / SLICES);
  }

  stop(): void {
    this.#stopping = true;
    clearInterval(this.#timer);
  }

  #slice(): void {
    if (this.#queue.length === 0) {
      this.#queue = [...this.#hub.feeds()];
      this.#per = Math.max(1, Math.ceil(this.#queue.length / SLICES));
    }
    for (const feed of this.#queue.splice(0, this.#per)) {
      if (feed.live.size > 0) this.#hub.mark(feed, 'sweep');
      // By chance: feeds that came together are not asserted together.
      if (Math.random() < EVERY_MS / ASSERT_EVERY_MS) this.assert([feed]);
    }
  }

  /** Asserts the feeds' sessions soon. */
  assert(feeds: Iterable<Feed>): void {
    const { store } = this.#hub.ctx;
    for (const feed of feeds) {
      // What comes of a channel before a gap would be where it begins for the client, which asks for nothing before that.
      feed.doubted = true;
      const group = store.kind === 'cluster' ? feed.partition : 0;
      const waiting = this.#doubted.get(group);
      if (waiting) {
        waiting.add(feed);
      } else {
        this.#doubted.set(group, new Set([feed]));
        void this.#work(group);
      }
    }
  }

  async #work(group: number): Promise<void> {
    await sleep(Math.random() * PACE_MS);
    for (let sessions = this.#next(group); sessions && !this.#stopping; sessions = this.#next(group)) {
      await this.#reassert(sessions);
      await sleep(PACE_MS);
    }
  }

  /** Taken only now: whoever left meanwhile is detached in the store, and asserted again would stay there for ever. */
  #next(group: number): Session[] | undefined {
    const feeds = this.#doubted.get(group);
    if (!feeds || feeds.size === 0) {
      this.#doubted.delete(group);
      return undefined;
    }
    const sessions: Session[] = [];
    for (const feed of feeds) {
      if (sessions.length + feed.sessions.size > SESSIONS_PER_CALL && sessions.length > 0) break;
      feeds.delete(feed);
      sessions.push(...feed.sessions);
    }
    return sessions;
  }

  async #reassert(sessions: Session[]): Promise<void> {
    const { ctx, registrations } = this.#hub;
    if (sessions.length === 0) return;
    try {
      const replies = await registrations.reassert(sessions);
      await Promise.all(replies.map((reply, i) => this.#repair(sessions[i], reply)));
    } catch (error) {
      ctx.metrics.retries.of('reassert').inc();
      ctx.logger.warn({ err: error }, 'asserting registrations failed');
      if (!isRetryable(error)) return;
      for (const { feed } of sessions) if (feed && feed.sessions.size > 0) this.assert([feed]);
      await sleep(1000);
    }
  }

  /** One that fails goes on by itself: the others have had theirs, and asserting again would not tell of a gap again. */
  async #repair(session: Session | undefined, reply: Reasserted, failures = 0): Promise<void> {
    if (!session?.open || this.#stopping) return;
    try {
      await this.#doRepair(session, reply);
    } catch (error) {
      const { metrics, logger } = this.#hub.ctx;
      logger.warn({ err: error, user: session.feed?.user }, 'putting a session right failed');
      if (!isRetryable(error)) return;
      metrics.retries.of('reassert').inc();
      void backOff(failures + 2).then(() => this.#repair(session, reply, failures + 1));
    }
  }

  async #doRepair(session: Session, reply: Reasserted): Promise<void> {
    const { ctx } = this.#hub;
    if (reply === 1) ctx.metrics.registrationsRestored.inc();
    // Another session of the device: newer, or one that a failover brought back. Whoever connects again settles it.
    if (reply === 2) session.close('goingAway', 'another session of this device');
    if (reply === 4) await this.#hub.attachAgain(session);
    // Told for nothing when all of it was sent meanwhile, and acked: better than one that is not told.
    if (reply === 5) await this.#hub.missed(session);
  }
}
