/**
 * A role that works through the logs of its share of the partitions: its leases and its reading, kept in step. A partition
 * is read from where the role says, while its lease is held; when that goes the reading ends first.
 */
import type { AppContext } from '../config/context.ts';
import { type Keyspace, keyspace, type LogRole } from '../keyspace/index.ts';
import { backOff, type FollowOptions, LogFollower } from '../redis/follow.ts';
import type { Logger } from '../telemetry/logger.ts';
import { PartitionLeases } from './leases.ts';

export interface LogWorkerOptions
  extends Pick<FollowOptions, 'count' | 'roundCount' | 'intervalMs' | 'handle' | 'onRetry' | 'onReconnect'> {
  role: LogRole;
  logger: Logger;
  /** Where a partition that was gained is read from. A rejection is repeated after a back-off. */
  gain(partition: number): Promise<string>;
  lose?(partition: number): void;
}

/**
 * What is being handled may hang, with the archive away for as long as a driver waits; the next worker needs not wait for
 * it, since nothing correct depends on who has a partition.
 */
const HAND_OVER_MS = 500;

export class LogWorker {
  readonly held: ReadonlySet<number>;
  readonly #follower: LogFollower;
  readonly #leases: PartitionLeases;

  constructor(ctx: AppContext, options: LogWorkerOptions) {
    const { store, config, metrics } = ctx;
    const { role, logger, gain, lose, ...reading } = options;
    const { partitions } = config;
    const keys: Keyspace = keyspace(partitions, { oneNode: store.kind !== 'cluster' });
    const held = new Set<number>();
    this.held = held;
    this.#follower = new LogFollower({
      ...reading,
      store,
      partitions,
      replicas: config.ackReplicas,
      logger,
      logKey: keys.log,
      onRound: () => this.completedRound(),
    });

    const take = async (p: number): Promise<void> => {
      for (let failures = 0; held.has(p); failures++) {
        try {
          const from = await gain(p);
          if (held.has(p)) this.#follower.add(p, from);
          else lose?.(p);
          return;
        } catch (error) {
          logger.warn({ err: error, partition: p }, 'taking a partition over failed, trying again');
          this.completedRound(); // the loop lives, and says what is wrong
          await backOff(failures);
        }
      }
    };
    this.#leases = new PartitionLeases({
      store,
      partitions,
      role,
      worker: ctx.incarnation,
      logger,
      onGained: (p) => {
        held.add(p);
        metrics.leases.of(role, String(p)).set(1);
        void take(p);
      },
      onLost: async (p) => {
        held.delete(p);
        metrics.leases.of(role, String(p)).set(0);
        await this.#follower.remove(p, HAND_OVER_MS);
        lose?.(p);
      },
    });
  }

  /** A sign of life, for work that takes long. */
  completedRound(): void {
    this.#leases.completedRound();
  }

  async start(): Promise<void> {
    await this.#leases.start();
  }

  /** The batch under way is finished, and everything given back. */
  async stop(): Promise<void> {
    await this.#leases.stop();
    await this.#follower.stop();
  }
}
