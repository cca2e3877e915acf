/**
 * Which gateways are dead, judged from roll calls. That a lease is missing proves nothing: leases expire in a failover, and
 * a promoted replica may lack one. So a gateway is suspect only when its lease was missing in every answered roll call of
 * a partition for `missingMs`; a roll call that failed, or came too late, starts the time anew. And when many look dead
 * at once it is more likely that we, or Redis, see wrongly: then nobody is for `massMs`.
 */
import type { RegisteredGateway } from '../../lib/redis/presence-verbs.ts';

export interface JudgeTimes {
  missingMs: number;
  massMs: number;
  /** Between an answer and the next roll call at most; more is an interruption. */
  breakMs: number;
}

export interface Suspect {
  readonly partition: number;
  readonly gateway: string;
  /** Unix ms, by the store's clock. */
  readonly renewedAt: number;
}

const MANY = 3;

interface Seen {
  answeredAt: number;
  gateways: readonly RegisteredGateway[];
  /** Gateway → when its lease was first seen to be missing. */
  missing: Map<string, number>;
}

export class Judge {
  readonly #times: JudgeTimes;
  readonly #seen = new Map<number, Seen>();
  #manySince: number | undefined;

  constructor(times: JudgeTimes) {
    this.#times = times;
  }

  /** A roll call that was answered; both times by one monotonic clock. Returns who is suspect in this partition. */
  answered(partition: number, gateways: readonly RegisteredGateway[], sentAt: number, answeredAt: number): Suspect[] {
    const before = this.#seen.get(partition);
    const unbroken = before !== undefined && sentAt - before.answeredAt <= this.#times.breakMs;
    const missing = new Map<string, number>();
    const suspects: Suspect[] = [];
    for (const { gateway, leased, renewedAt } of gateways) {
      if (leased) continue;
      const since = (unbroken && before.missing.get(gateway)) || answeredAt;
      missing.set(gateway, since);
      if (sentAt - since >= this.#times.missingMs) suspects.push({ partition, gateway, renewedAt });
    }
    this.#seen.set(partition, { answeredAt, gateways, missing });
    return suspects;
  }

  /** A roll call failed, or the partition is not ours any more. */
  interrupted(partition: number): void {
    this.#seen.delete(partition);
  }

  /** Whether so many leases are missing now, of suspects or not, that suspects are not to be believed yet. */
  doubts(now: number): boolean {
    const known = new Set<string>();
    const missing = new Set<string>();
    for (const seen of this.#seen.values()) {
      for (const { gateway } of seen.gateways) known.add(gateway);
      for (const gateway of seen.missing.keys()) missing.add(gateway);
    }
    if (missing.size < MANY || missing.size * 3 <= known.size) {
      this.#manySince = undefined;
      return false;
    }
    this.#manySince ??= now;
    return now - this.#manySince < this.#times.massMs;
  }
}
