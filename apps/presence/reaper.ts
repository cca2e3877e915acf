/**
 * Ends the sessions of gateways that died. Per partition: what the gateway served (`served`) is detached, session by
 * session, by the script that the gateway itself would have used; then it is taken out of the registry. Each step is a
 * script of its own that refuses when the gateway has its lease again, so it may be interrupted, repeated or done by two.
 */
import pLimit from 'p-limit';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import { InFlight } from '../../lib/process/in-flight.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { Verbs } from '../../lib/redis/verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';
import { Judge, type JudgeTimes, type Suspect } from './judge.ts';
import { pause } from './pause.ts';

/** Paced: three thousand sessions a second. */
const SESSIONS_AT_ONCE = 64;

export interface ReaperOptions {
  store: RedisStore;
  keys: Keyspace;
  verbs: Verbs;
  presence: PresenceVerbs;
  metrics: Metrics;
  logger: Logger;
  /** The partition is this worker's. */
  holds(partition: number): boolean;
  times: JudgeTimes;
}

export class Reaper {
  readonly #o: ReaperOptions;
  readonly #judge: Judge;
  readonly #rollCalls = new InFlight<number>();
  readonly #work = new Map<string, Promise<void>>();
  /** Two at once: a server that does not answer does not hold up the other partitions. */
  readonly #limit = pLimit(2);
  #doubting = false;
  #stopping = false;

  constructor(options: ReaperOptions) {
    this.#o = options;
    this.#judge = new Judge(options.times);
  }

  /** One roll call of these partitions; who is found dead is reaped beside it. */
  look(partitions: readonly number[]): void {
    for (const group of this.#o.store.groups(this.#rollCalls.idle(partitions))) {
      this.#rollCalls.start(group, async () => this.#suspect(await this.#rollCall(group)));
    }
  }

  #suspect(suspects: readonly Suspect[]): void {
    const { metrics, logger, times } = this.#o;
    const doubts = this.#judge.doubts(performance.now());
    metrics.presenceAlarm.set(doubts ? 1 : 0);
    if (doubts && !this.#doubting) {
      const gateways = [...new Set(suspects.map(({ gateway }) => gateway))];
      logger.error({ gateways, waitMs: times.massMs }, 'many gateways look dead at once: nobody is reaped for now');
    }
    this.#doubting = doubts;
    if (doubts) return;
    for (const suspect of suspects) {
      const name = `${suspect.partition} ${suspect.gateway}`;
      if (this.#work.has(name) || this.#stopping) continue;
      const work = this.#limit(() => this.#reap(suspect)).finally(() => this.#work.delete(name));
      this.#work.set(name, work);
    }
  }

  async #rollCall(group: readonly number[]): Promise<Suspect[]> {
    const { presence, metrics, logger } = this.#o;
    const sentAt = performance.now();
    try {
      const answers = await presence.rollCall(group);
      const answeredAt = performance.now();
      return group.flatMap((p, i) => this.#judge.answered(p, answers[i] ?? [], sentAt, answeredAt));
    } catch (error) {
      metrics.retries.of('roll_call').inc();
      logger.warn({ err: error, partitions: group }, 'a roll call of the gateways failed');
      for (const p of group) this.#judge.interrupted(p);
      return [];
    }
  }

  /** The partition is not this worker's any more. */
  lose(partition: number): void {
    this.#judge.interrupted(partition);
  }

  async #reap({ partition, gateway, renewedAt }: Suspect): Promise<void> {
    const { verbs, presence, metrics, logger, holds } = this.#o;
    let reaped = 0;
    try {
      if (await this.#livesAtHome(gateway)) return;
      for (;;) {
        if (this.#stopping || !holds(partition)) return;
        const sessions = await presence.served(partition, gateway, SESSIONS_AT_ONCE);
        if (sessions.length === 0) break;
        const results = await Promise.allSettled(
          sessions.map((session) => verbs.detach({ ...session, gateway, endedAt: renewedAt })),
        );
        for (const [i, result] of results.entries()) {
          if (result.status === 'fulfilled') {
            if (result.value === 'refused') return; // it lives after all, and puts back what it lost
            if (result.value === 'detached') reaped++;
          } else if (isRetryable(result.reason)) {
            throw result.reason; // the next look does the rest
          } else {
            const session = sessions[i];
            logger.error({ err: result.reason, ...session }, 'a session cannot be detached, it is left as it is');
            if (session) await presence.dropServed(partition, gateway, session);
          }
        }
        await pause();
      }
      await presence.leaveGateway(gateway, partition, { stopping: false });
    } catch (error) {
      metrics.retries.of('reap').inc();
      logger.warn({ err: error, partition, gateway }, 'reaping was interrupted, the next look goes on');
    } finally {
      metrics.reapedSessions.inc(reaped);
      if (reaped > 0) logger.warn({ partition, gateway, sessions: reaped }, 'a dead gateway’s sessions were ended');
    }
  }

  async #livesAtHome(gateway: string): Promise<boolean> {
    const { store, keys } = this.#o;
    return (await store.command.exists(keys.gatewayLease(keys.partitionOf(gateway), gateway))) === 1;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#rollCalls.all();
    await Promise.all(this.#work.values());
  }
}
