/**
 * One worker's share of the partitions, for one role.
 *
 * Structures: `workers:{0}:<role>` (hash: worker → last sign of life) says who lives (living.ts); with the n live ids
 * sorted, the worker of rank r should have the partitions p with p mod n = r. `lease:{p}:<role>` (string with a time to
 * live) says who has p now. A worker gives back what it should not have, and takes what it should have once that is free, so every
 * partition has at most one worker that believes in its lease, give or take a failover. Nothing correct depends on it:
 * leases save work (design, rule 1).
 *
 * Every partition is renewed by itself, and membership is one call beside that: a server that does not answer costs the
 * leases that it has, and no others. While it has the membership, shares stay as they were last known.
 *
 * A worker that stops gives everything back at once. One that dies, freezes or loses Redis stops renewing; and it stops
 * believing before the lease ends in Redis, because it counts from before each renewal was sent, by a clock that no one
 * sets.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { keyspace } from '../keyspace/index.ts';
import { InFlight } from '../process/in-flight.ts';
import type { RedisStore } from '../redis/connect.ts';
import { run } from '../redis/scripts.ts';
import { Living } from './living.ts';

export interface LeaseOptions {
  store: RedisStore;
  partitions: number;
  role: string;
  /** Unique to this process and this start of it. */
  worker: string;
  /** How long a lease lasts without renewal; 10 s by default. */
  ttlMs?: number;
  /** 2 s by default. */
  renewMs?: number;
  /** No completed round for this long while partitions are held whose servers answer: stuck; 5 s by default. */
  stuckMs?: number;
  logger: Logger;
  onGained(partition: number): void;
  /** Stop working on it. When the promise settles the lease is given back, if it is still ours. */
  onLost(partition: number): Promise<void>;
  /** The worker's loop stands still. By default the process ends with exit code 1: its supervisor starts a new one. */
  onStuck?(): void;
}

const TTL_MS = 10_000;
const RENEW_MS = 2000;
const STUCK_MS = 5000;
/** How often membership is looked at: so soon do the others take what a stopped worker gave back. */
const LOOK_MS = 500;
/**
 * A lease's server gave no answer for this long: a loop that waits for it too is not to blame, and gets its time again.
 */
const SILENCE_MS = 1000;
/** How often the local clock is compared with the leases' ends. */
const WATCH_MS = 250;

interface Lease {
  /** By `performance.now()`, as all times here. */
  expiresAt: number;
  /** When its last renewal was sent; long ago when that failed. */
  renewedAt: number;
  /** When the first renewal was sent that is not answered. */
  unansweredSince?: number;
  /** Set while `onLost` runs. */
  leaving?: Promise<void>;
}

export class PartitionLeases {
  readonly #options: LeaseOptions;
  readonly #ttlMs: number;
  readonly #renewMs: number;
  readonly #stuckMs: number;
  readonly #keys: ReturnType<typeof keyspace>;
  readonly #held = new Map<number, Lease>();
  readonly #calls = new InFlight<number>();
  readonly #living: Living;
  #joining: Promise<void> | undefined;
  /** When membership was last known. */
  #joinedAt = Number.NEGATIVE_INFINITY;
  /** The share, as of then. */
  #wanted: readonly number[] = [];
  #members = '';
  #lastRound = 0;
  #watchedAt = 0;
  #stuck = false;
  /** Partitions whose lease cannot be had, and 'membership'. */
  readonly #failing = new Set<number | 'membership'>();
  #timer: NodeJS.Timeout | undefined;
  #watch: NodeJS.Timeout | undefined;
  #started = false;
  #stopping = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#ttlMs = options.ttlMs ?? TTL_MS;
    this.#renewMs = options.renewMs ?? RENEW_MS;
    this.#stuckMs = options.stuckMs ?? STUCK_MS;
    this.#keys = keyspace(options.partitions);
    this.#living = new Living(this.#renewMs);
  }

  /** The partitions that this worker works on now. */
  held(): number[] {
    // By the clock too: the watch that takes ended leases away looks only a few times a second.
    const now = performance.now();
    return [...this.#held].filter(([, { leaving, expiresAt }]) => !leaving && now < expiresAt).map(([p]) => p);
  }

  /** Resolves after the first attempt to get partitions, also when Redis does not answer: attempts go on. */
  async start(): Promise<void> {
    if (this.#started) throw new Error('the leases were started already');
    this.#started = true;
    this.#watchedAt = performance.now();
    this.#watch = setInterval(() => this.#look(), WATCH_MS);
    await this.#patiently(this.#join());
    await this.#patiently(this.#calls.all());
    this.#again();
  }

  /** To be called by the worker's own loop after each completed round, also one that found nothing to do. */
  completedRound(): void {
    this.#lastRound = performance.now();
  }

  /** Gives everything back. Resolves when `onLost` has settled for every partition. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    clearTimeout(this.#timer);
    const { store, role, worker, logger } = this.#options;
    await this.#patiently(this.#joining);
    // First: from now on the others want what we have, and take each partition as soon as it is given back.
    const left = store.command.hdel(this.#keys.workers(role), worker).catch((error: Error) => {
      logger.warn({ worker, reason: error.message }, 'not deregistered: others wait until the leases lapse');
    });
    await this.#patiently(left);
    await Promise.all([...this.#held.keys()].map((partition) => this.#lose(partition, 'stopping')));
    await this.#patiently(this.#calls.all());
    clearInterval(this.#watch);
  }

  /** A server that does not answer holds up neither a start nor an end for long. */
  async #patiently(work: Promise<unknown> | undefined): Promise<void> {
    const late = new AbortController();
    const patience = sleep(this.#renewMs, undefined, { signal: late.signal }).catch(() => undefined);
    await Promise.race([work, patience]);
    late.abort();
  }

  #again(): void {
    if (this.#stopping) return;
    const pause = Math.min(LOOK_MS, this.#renewMs) * (0.8 + Math.random() * 0.4);
    this.#timer = setTimeout(() => {
      if (!this.#stuck) void this.#join();
      this.#ask();
      this.#again();
    }, pause);
  }

  /** Says that we live, and hears who does. One call at a time, for which nothing waits: its server may be silent. */
  #join(): Promise<void> {
    this.#joining ??= this.#learnShare().finally(() => {
      this.#joining = undefined;
    });
    return this.#joining;
  }

  async #learnShare(): Promise<void> {
    const { store, partitions, role, worker, logger } = this.#options;
    const all = Array.from({ length: partitions }, (_, p) => p);
    try {
      const signs = await run<string[]>(store.command, 'lease_join', [this.#keys.workers(role)], [worker, this.#ttlMs]);
      this.#joinedAt = performance.now();
      const live = this.#living.of(signs, this.#joinedAt);
      const rank = live.indexOf(worker);
      this.#wanted = all.filter((p) => p % live.length === rank);
      const members = live.join(' ');
      if (members !== this.#members) {
        logger.info({ worker, workers: live.length, partitions: this.#wanted.length }, 'new share of the partitions');
        this.#members = members;
      }
      this.#failing.delete('membership');
      const surplus = this.held().filter((partition) => !this.#wanted.includes(partition));
      for (const partition of surplus) void this.#lose(partition, 'another worker’s share');
      this.#ask();
    } catch (error) {
      this.#living.broken();
      this.#failed('membership', error);
      // Those who lived then may be gone, and others here: what is free is anybody's until it is known again.
      if (performance.now() - this.#joinedAt > this.#ttlMs) this.#ask(all);
    }
  }

  /** Renews what is due, and asks for what is wanted and not held. */
  #ask(wanted = this.#wanted): void {
    if (this.#stuck || this.#stopping) return;
    const now = performance.now();
    const due = [...this.#held].filter(([, lease]) => !lease.leaving && now - lease.renewedAt >= this.#renewMs);
    const missing = wanted.filter((partition) => !this.#held.has(partition));
    for (const partition of this.#calls.idle([...due.map(([p]) => p), ...missing])) {
      this.#calls.start([partition], () => this.#renew(partition));
    }
  }

  async #renew(partition: number): Promise<void> {
    const { store, role, worker, logger, onGained } = this.#options;
    const sentAt = performance.now();
    const asked = this.#held.get(partition);
    if (asked) {
      asked.renewedAt = sentAt;
      asked.unansweredSince ??= sentAt;
    }
    let reply: number;
    try {
      const key = this.#keys.lease(partition, role);
      reply = await run<number>(store.command, 'lease_renew', [key], [worker, this.#ttlMs]);
    } catch (error) {
      // What is held ends by itself when this goes on.
      if (asked) asked.renewedAt = Number.NEGATIVE_INFINITY;
      this.#failed(partition, error);
      return;
    }
    this.#failing.delete(partition);
    const now = performance.now();
    const expiresAt = sentAt + this.#ttlMs;
    if (asked) {
      delete asked.unansweredSince;
      // While it is being left, it is released in the end: nothing to prolong.
      if (asked.leaving) return;
      if (reply === 1) asked.expiresAt = expiresAt;
      // It had lapsed (2) or is somebody else's (0). If it was free it is taken again after this loss is dealt with.
      else void this.#lose(partition, 'lapsed');
    } else if (reply !== 0 && now < expiresAt && !this.#stopping && !this.#stuck) {
      if (this.held().length === 0) this.#lastRound = now;
      this.#held.set(partition, { expiresAt, renewedAt: sentAt });
      logger.debug({ partition }, 'partition gained');
      onGained(partition);
    } else if (reply !== 0) {
      // Too late to be of use: nobody has to wait until it lapses.
      await this.#release(partition);
    }
  }

  /** An outage makes many equal errors: the first of them is logged. */
  #failed(what: number | 'membership', error: unknown): void {
    const { worker, logger } = this.#options;
    const reason = messageOf(error);
    if (this.#failing.size === 0) logger.warn({ worker, what, reason }, 'leases not renewed, trying again');
    this.#failing.add(what);
  }

  #lose(partition: number, why: string): Promise<void> {
    const lease = this.#held.get(partition);
    if (!lease) return Promise.resolve();
    lease.leaving ??= this.#leave(partition, why);
    return lease.leaving;
  }

  async #leave(partition: number, why: string): Promise<void> {
    const { logger, onLost } = this.#options;
    logger.debug({ partition, why }, 'partition lost');
    try {
      await onLost(partition);
    } catch (error) {
      logger.error({ partition, err: error }, 'the worker did not leave the partition cleanly');
    }
    // A renewal under way may take it again after it was given back.
    await this.#calls.of(partition);
    await this.#release(partition);
    this.#held.delete(partition);
  }

  async #release(partition: number): Promise<void> {
    const { store, role, worker, logger } = this.#options;
    try {
      await run<number>(store.command, 'lease_release', [this.#keys.lease(partition, role)], [worker]);
    } catch (error) {
      logger.warn({ partition, reason: messageOf(error) }, 'lease not released: it lapses by itself');
    }
  }

  /** What must not wait for Redis: leases that ended by our own clock, and a worker that stands still. */
  #look(): void {
    const now = performance.now();
    // The process was frozen: its loop could not complete a round, and gets the chance now.
    if (now - this.#watchedAt > this.#stuckMs / 2) this.#lastRound = now;
    this.#watchedAt = now;
    for (const [partition, { expiresAt }] of this.#held) {
      if (now >= expiresAt) void this.#lose(partition, 'not renewed in time');
    }
    const silent = [...this.#held.values()].some(({ unansweredSince = now }) => now - unansweredSince > SILENCE_MS);
    if (silent) this.#lastRound = now;
    const still = this.held().length > 0 && now - this.#lastRound > this.#stuckMs;
    if (still && !this.#stuck && !this.#stopping) {
      this.#stuck = true;
      const { role, worker, logger, onStuck } = this.#options;
      logger.fatal({ role, worker, stuckMs: this.#stuckMs }, 'no completed round: the worker is stuck, and gives up');
      if (onStuck) onStuck();
      else process.exit(1);
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
