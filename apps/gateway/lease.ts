/**
 * This gateway's lease in every partition: while it is renewed its sessions count as alive, and when it is gone the reaper
 * detaches them. That is all that presence costs while nobody comes or goes.
 *
 * Each renewal is also a look at what the store has of this gateway. What it has forgotten (a lease that had lapsed, a
 * failover that lost writes, an empty store) or has too much of is put right, paced: see `Sweeper`.
 */
import type { GatewayContext } from './context.ts';
import type { Registrations } from './registrations.ts';

export interface LeaseTimes {
  ttlMs: number;
  everyMs: number;
  /** A number of sessions that differs is looked into this often at most. */
  auditEveryMs: number;
}
const TIMES: LeaseTimes = { ttlMs: 30_000, everyMs: 5000, auditEveryMs: 60_000 };
/** After a failure. */
const AGAIN_MS = 1000;

export interface LeaseEvents {
  /** The store may have lost what it had of the partition's sessions, or the inboxes' floor was raised. */
  onForgotten(partition: number): void;
  /** The store has sessions of ours that we do not have. */
  onSurplus(partition: number): void;
}

export class GatewayLease {
  readonly #ctx: GatewayContext;
  readonly #registrations: Registrations;
  readonly #events: LeaseEvents;
  readonly #times: LeaseTimes;
  /** By partition, as of the last reply. */
  readonly #since: string[] = [];
  readonly #floor: string[] = [];
  readonly #auditedAt: number[] = [];
  readonly #loops: Promise<void>[];
  readonly #wake = new Set<() => void>();
  #stopping = false;

  constructor(ctx: GatewayContext, registrations: Registrations, events: LeaseEvents, times: Partial<LeaseTimes> = {}) {
    this.#ctx = ctx;
    this.#registrations = registrations;
    this.#events = events;
    this.#times = { ...TIMES, ...times };
    const all = Array.from({ length: ctx.keys.partitions }, (_, p) => p);
    // A server that does not answer keeps no lease at another one from being renewed.
    this.#loops = ctx.store.groups(all).map((group) => this.#loop(group));
  }

  async #loop(group: readonly number[]): Promise<void> {
    while (!this.#stopping) {
      const renewed = await this.#renew(group);
      await this.#sleep(renewed ? this.#times.everyMs : Math.min(AGAIN_MS, this.#times.everyMs));
    }
  }

  async #renew(group: readonly number[]): Promise<boolean> {
    const { presence, incarnation, metrics, logger } = this.#ctx;
    const looks = group.map((p) => this.#registrations.look(p));
    try {
      const replies = await presence.renewGateway(incarnation, group, this.#times.ttlMs);
      metrics.gatewayLeases.of('renewed').inc(group.length);
      group.forEach((p, i) => {
        const reply = replies[i];
        if (!reply) return;
        const { since, served, floor } = reply;
        const lapsed = this.#since[p] !== undefined && this.#since[p] !== since;
        const raised = this.#floor[p] !== undefined && this.#floor[p] !== floor;
        this.#since[p] = since;
        this.#floor[p] = floor;
        if (lapsed) {
          metrics.gatewayLeases.of('lapsed').inc();
          logger.warn({ partition: p }, 'the lease had lapsed: asserting all sessions');
        }
        const differs = this.#registrations.differs(p, looks[i], served) && this.#mayAudit(p);
        if (lapsed || raised || differs) this.#events.onForgotten(p);
        if (differs) {
          logger.warn({ partition: p, served }, 'the store has another number of sessions than this gateway');
          this.#events.onSurplus(p);
        }
      });
      return true;
    } catch (error) {
      metrics.gatewayLeases.of('failed').inc(group.length);
      if (!this.#stopping) logger.warn({ err: error, partitions: group }, 'a lease was not renewed, trying again');
      return false;
    }
  }

  #mayAudit(p: number): boolean {
    const now = performance.now();
    if (now - (this.#auditedAt[p] ?? Number.NEGATIVE_INFINITY) < this.#times.auditEveryMs) return false;
    this.#auditedAt[p] = now;
    return true;
  }

  /** A little early or late: gateways that started together do not renew together. */
  #sleep(ms: number): Promise<void> {
    if (this.#stopping) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#wake.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms * (0.9 + Math.random() * 0.2));
      this.#wake.add(done);
    });
  }

  /** Gives the leases back; what is still registered is left to the reaper. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const wake of this.#wake) wake();
    await Promise.all(this.#loops);
    const { presence, incarnation, keys, logger } = this.#ctx;
    const left = Array.from({ length: keys.partitions }, (_, p) =>
      presence.leaveGateway(incarnation, p, { stopping: true }),
    );
    const failed = (await Promise.allSettled(left)).find((result) => result.status === 'rejected');
    if (failed) logger.warn({ err: failed.reason }, 'leases not given back: they lapse by themselves');
  }
}
