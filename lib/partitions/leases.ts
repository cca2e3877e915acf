/**
 * One worker's share of the partitions, for one role.
 *
 * Structures: `workers:{0}:<role>` (hash: worker → last sign of life) says who lives; with the n live ids sorted, the
 * worker of rank r should have the partitions p with p mod n = r. `lease:{p}:<role>` (string with a time to live) says
 * who has p now. A worker gives back what it should not have, and takes what it should have once that is free, so every
 * partition has at most one worker that believes in its lease, give or take a failover. Nothing correct depends on it:
 * leases save work (design, rule 1).
 *
 * A worker that stops gives everything back at once. One that dies, freezes or loses Redis stops renewing; and it stops
 * believing before the lease ends in Redis, because it counts from before each renewal was sent, by a clock that no one
 * sets.
 */
import type { Logger } from 'pino';
import { keyspace } from '../keyspace/index.ts';
import type { RedisStore } from '../redis/connect.ts';
import { run } from '../redis/scripts.ts';

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
  /** No completed round for this long while partitions are held: stuck; 5 s by default. */
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
/** Redis gave no answer for this long: a loop that waits for it too is not to blame, and gets its time again. */
const SILENCE_MS = 2000;
/** How often the local clock is compared with the leases' ends. */
const WATCH_MS = 250;

interface Lease {
  /** By `performance.now()`. */
  expiresAt: number;
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
  #members = '';
  #renewedAt = Number.NEGATIVE_INFINITY;
  #lastRound = 0;
  #watchedAt = 0;
  /** When Redis last answered a whole round of ours. */
  #answeredAt = 0;
  #stuck = false;
  #failing = false;
  #running: Promise<void> | undefined;
  #watch: NodeJS.Timeout | undefined;
  #wake: (() => void) | undefined;
  #stopping = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#ttlMs = options.ttlMs ?? TTL_MS;
    this.#renewMs = options.renewMs ?? RENEW_MS;
    this.#stuckMs = options.stuckMs ?? STUCK_MS;
    this.#keys = keyspace(options.partitions);
  }

  /** The partitions that this worker works on now. */
  held(): number[] {
    // By the clock too: the watch that takes ended leases away looks only a few times a second.
    const now = performance.now();
    return [...this.#held].filter(([, { leaving, expiresAt }]) => !leaving && now < expiresAt).map(([p]) => p);
  }

  /** Resolves after the first attempt to get partitions, also when Redis did not answer: attempts go on. */
  async start(): Promise<void> {
    if (this.#running) throw new Error('the leases were started already');
    this.#watchedAt = performance.now();
    this.#watch = setInterval(() => this.#look(), WATCH_MS);
    await this.#round();
    this.#running = this.#loop();
  }

  /** To be called by the worker's own loop after each completed round, also one that found nothing to do. */
  completedRound(): void {
    this.#lastRound = performance.now();
  }

  /** Gives everything back. Resolves when `onLost` has settled for every partition. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#wake?.();
    await this.#running;
    const { store, role, worker, logger } = this.#options;
    // First: from now on the others want what we have, and take each partition as soon as it is given back.
    await store.command.hdel(this.#keys.workers(role), worker).catch((error: Error) => {
      logger.warn({ worker, reason: error.message }, 'not deregistered: others wait until the leases lapse');
    });
    await Promise.all([...this.#held.keys()].map((partition) => this.#lose(partition, 'stopping')));
    clearInterval(this.#watch);
  }

  async #loop(): Promise<void> {
    while (!this.#stopping) {
      await new Promise<void>((done) => {
        const timer = setTimeout(done, Math.min(LOOK_MS, this.#renewMs) * (0.8 + Math.random() * 0.4));
        this.#wake = () => {
          clearTimeout(timer);
          done();
        };
      });
      if (!this.#stopping) await this.#round();
    }
  }

  async #round(): Promise<void> {
    if (this.#stuck) return;
    const { store, partitions, role, worker, logger } = this.#options;
    try {
      const live = await run<string[]>(store.command, 'lease_join', [this.#keys.workers(role)], [worker, this.#ttlMs]);
      live.sort();
      const rank = live.indexOf(worker);
      const wanted = Array.from({ length: partitions }, (_, p) => p).filter((p) => p % live.length === rank);
      const members = live.join(' ');
      if (members !== this.#members) {
        logger.info({ worker, workers: live.length, partitions: wanted.length }, 'new share of the partitions');
        this.#members = members;
      }

      const due = performance.now() - this.#renewedAt >= this.#renewMs;
      if (due) this.#renewedAt = performance.now();
      const surplus = this.held().filter((partition) => !wanted.includes(partition));
      for (const partition of surplus) void this.#lose(partition, 'another worker’s share');
      const ask = wanted.filter((partition) => {
        const lease = this.#held.get(partition);
        return lease ? due && !lease.leaving : true;
      });
      const results = await Promise.allSettled(ask.map((partition) => this.#renew(partition)));
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
      this.#failing = false;
      const now = performance.now();
      if (now - this.#answeredAt > SILENCE_MS) this.#lastRound = now;
      this.#answeredAt = now;
    } catch (error) {
      // What is held ends by itself when this goes on.
      if (!this.#failing) logger.warn({ worker, reason: messageOf(error) }, 'leases not renewed, trying again');
      this.#failing = true;
      this.#renewedAt = Number.NEGATIVE_INFINITY;
    }
  }

  async #renew(partition: number): Promise<void> {
    const { store, role, worker, logger, onGained } = this.#options;
    const sentAt = performance.now();
    const key = this.#keys.lease(partition, role);
    const reply = await run<number>(store.command, 'lease_renew', [key], [worker, this.#ttlMs]);
    const lease = this.#held.get(partition);
    const expiresAt = sentAt + this.#ttlMs;
    if (reply === 1 && lease) {
      // While it is being left, it is released in the end: nothing to prolong.
      lease.expiresAt = lease.leaving ? lease.expiresAt : expiresAt;
    } else if (lease) {
      // It had lapsed (2) or is somebody else's (0). If it was free it is taken again after this loss is dealt with.
      void this.#lose(partition, 'lapsed');
    } else if (reply !== 0 && performance.now() < expiresAt && !this.#stopping && !this.#stuck) {
      if (this.held().length === 0) this.#lastRound = performance.now();
      this.#held.set(partition, { expiresAt });
      logger.debug({ partition }, 'partition gained');
      onGained(partition);
    }
  }

  #lose(partition: number, why: string): Promise<void> {
    const lease = this.#held.get(partition);
    if (!lease) return Promise.resolve();
    lease.leaving ??= this.#leave(partition, why);
    return lease.leaving;
  }

  async #leave(partition: number, why: string): Promise<void> {
    const { store, role, worker, logger, onLost } = this.#options;
    logger.debug({ partition, why }, 'partition lost');
    try {
      await onLost(partition);
    } catch (error) {
      logger.error({ partition, err: error }, 'the worker did not leave the partition cleanly');
    }
    try {
      await run<number>(store.command, 'lease_release', [this.#keys.lease(partition, role)], [worker]);
    } catch (error) {
      logger.warn({ partition, reason: messageOf(error) }, 'lease not released: it lapses by itself');
    }
    this.#held.delete(partition);
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
    const silent = now - this.#answeredAt > SILENCE_MS;
    const still = this.held().length > 0 && now - this.#lastRound > this.#stuckMs;
    if (still && !silent && !this.#stuck && !this.#stopping) {
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
