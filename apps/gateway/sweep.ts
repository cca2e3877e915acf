/**
 * What no ring tells of: each feed is read once every 30 s even when nothing rang, and each registration asserted again.
 * A sweep that finds something counts in `inbox_finds_total{cause="sweep"}`; normal is 0.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Reasserted } from '../../lib/redis/verbs.ts';
import type { Feed } from './feed.ts';
import type { Hub } from './hub.ts';
import type { Session } from './session.ts';

const EVERY_MS = 30_000;
/** The round is spread out: one slice of the feeds each. */
const SLICES = 30;
const SESSIONS_PER_CALL = 64;

export class Sweeper {
  readonly #hub: Hub;
  #timer: NodeJS.Timeout | undefined;
  #queue: Feed[] = [];
  #per = 1;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  start(): void {
    this.#timer = setInterval(() => this.#slice(), EVERY_MS / SLICES);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #slice(): void {
    if (this.#queue.length === 0) {
      this.#queue = [...this.#hub.feeds()];
      this.#per = Math.max(1, Math.ceil(this.#queue.length / SLICES));
    }
    void this.#sweep(this.#queue.splice(0, this.#per));
  }

  /** At once, after a reconnect; paced. */
  all(): void {
    void this.#sweep([...this.#hub.feeds()]);
  }

  async #sweep(feeds: Feed[]): Promise<void> {
    const { ctx } = this.#hub;
    for (const feed of feeds) if (feed.live.size > 0) this.#hub.mark(feed, 'sweep');
    const byGroup = new Map<number, Session[]>();
    for (const session of feeds.flatMap((feed) => [...feed.sessions])) {
      const group = ctx.store.kind === 'cluster' ? (session.feed?.partition ?? 0) : 0;
      const list = byGroup.get(group) ?? [];
      list.push(session);
      byGroup.set(group, list);
    }
    for (const sessions of byGroup.values()) {
      for (let i = 0; i < sessions.length; i += SESSIONS_PER_CALL) {
        // Whoever left meanwhile is detached in the store: asserted again it would stay registered for ever.
        await this.#reassert(sessions.slice(i, i + SESSIONS_PER_CALL).filter((s) => s.feed?.sessions.has(s)));
        await sleep(1);
      }
    }
  }

  async #reassert(sessions: Session[]): Promise<void> {
    const { ctx } = this.#hub;
    if (sessions.length === 0) return;
    try {
      const named = sessions.map((s) => ({
        user: s.feed?.user ?? '',
        device: s.device,
        session: s.id,
        offset: s.offset,
      }));
      const replies = await ctx.verbs.reassert(ctx.incarnation, named);
      await Promise.all(replies.map((reply, i) => this.#repair(sessions[i], named[i]?.offset, reply)));
    } catch (error) {
      ctx.metrics.retries.of('reassert').inc();
      ctx.logger.warn({ err: error }, 'asserting registrations failed; the next sweep does it');
    }
  }

  async #repair(session: Session | undefined, offset: string | undefined, reply: Reasserted): Promise<void> {
    if (!session?.open || offset === undefined) return;
    const { ctx } = this.#hub;
    if (reply === 1) ctx.logger.warn({ user: session.feed?.user }, 'a lost registration was put back');
    // Another session of the device: newer, or one that a failover brought back. Whoever connects again settles it.
    if (reply === 2) session.close('goingAway', 'another session of this device');
    if (reply === 4) await this.#hub.attachAgain(session);
    // What it has been sent since is no gap; and of one gap it is told once.
    if (reply === 5 && session.offset === offset && session.gapToldAt !== offset) {
      await this.#hub.tellGap(session, offset, null);
    }
  }
}
