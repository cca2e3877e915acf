/**
 * Makes users offline whose last session ended a moment ago and who did not come back: `leaving:{u}` says who and when.
 * A user who is found due is looked at again in the step that changes anything, so this may be repeated or done by two.
 */
import { InFlight } from '../../lib/process/in-flight.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';
import { pause } from './pause.ts';

/** Of a partition, in one call. */
const USERS_AT_ONCE = 64;

export interface LeavingOptions {
  store: RedisStore;
  presence: PresenceVerbs;
  metrics: Metrics;
  logger: Logger;
  /** The partition is this worker's. */
  holds(partition: number): boolean;
  graceMs: number;
  /** After each batch, also one that failed: a backlog takes long, and is no standstill. */
  onRound(): void;
}

export class Leaving {
  readonly #o: LeavingOptions;
  readonly #underWay = new InFlight<number>();

  constructor(options: LeavingOptions) {
    this.#o = options;
  }

  /** Settles all that are due in these partitions. A failure ends it for the partitions concerned, until the next time. */
  settle(partitions: readonly number[]): void {
    for (const group of this.#o.store.groups(this.#underWay.idle(partitions))) {
      this.#underWay.start(group, () => this.#settle(group));
    }
  }

  async #settle(group: readonly number[]): Promise<void> {
    const { presence, graceMs, metrics, logger, holds, onRound } = this.#o;
    try {
      for (let left = group.filter(holds); left.length > 0; left = left.filter(holds)) {
        const due = await presence.due(left, graceMs, USERS_AT_ONCE);
        const settled = await Promise.all(
          left.map((p, i) => {
            const users = due[i] ?? [];
            return users.length === 0 ? 0 : presence.settle(p, graceMs, users);
          }),
        );
        metrics.presenceChanges.of('offline').inc(settled.reduce((sum, n) => sum + n, 0));
        onRound();
        left = left.filter((_, i) => (due[i]?.length ?? 0) >= USERS_AT_ONCE);
        if (left.length > 0) await pause();
      }
    } catch (error) {
      metrics.retries.of('settle').inc();
      logger.warn({ err: error, partitions: group }, 'settling who left failed, trying again');
      onRound();
    }
  }
}
