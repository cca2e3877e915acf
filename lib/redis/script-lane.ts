/**
 * A connection of its own for what commits: `accepted` leaves only when the write behind it is durable (design, rule 3).
 *
 * With `replicas` above 0, calls that come while one is under way are sent together in one write with a WAIT behind them
 * (group commit), and all of them fail when too few replicas have them in time, or when the connection broke in between:
 * then it is not known what became of them, and a WAIT on another connection would say nothing about them. Those that
 * queue behind them fail with them: nobody waits out one time-out after another. WAIT counts from the connection's latest
 * command, so it also covers what others wrote before a call that writes nothing: the answer to a repeat.
 *
 * Without replicas calls go out as they come: the shared connection costs several times as much a call.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Keyspace } from '../keyspace/index.ts';
import type { WatchedConnection } from './blocking.ts';
import type { RedisStore } from './connect.ts';
import { NotReplicatedError } from './errors.ts';
import type { ScriptHost } from './scripts.ts';
import type { Command } from './wire.ts';

/** Replicas answer WAIT at once, unless they are away. */
export const WAIT_MS = 1000;
/** Calls that share a WAIT; each holds Redis for less than a millisecond. */
const PER_ROUND = 16;
/** While a partition's slot moves nothing of it can be called: it is waited for, for three seconds. */
const MOVING_WAIT_MS = 100;
const MOVING_WAITS = 30;

interface Call {
  command: Command;
  resolve(reply: unknown): void;
  reject(error: unknown): void;
  waits: number;
}

export class ScriptLane implements ScriptHost {
  readonly #connection: Pick<WatchedConnection, 'pipeline'>;
  readonly #replicas: number;
  #waiting: Call[] = [];
  #underWay = false;

  constructor(connection: Pick<WatchedConnection, 'pipeline'>, replicas: number) {
    this.#connection = connection;
    this.#replicas = replicas;
  }

  evalsha(sha: string, keys: number, ...rest: (string | number)[]): Promise<unknown> {
    return this.call(['EVALSHA', sha, keys, ...rest]);
  }

  eval(body: string, keys: number, ...rest: (string | number)[]): Promise<unknown> {
    return this.call(['EVAL', body, keys, ...rest]);
  }

  /** Any command; replies are RESP2's. */
  async call(command: Command): Promise<unknown> {
    if (this.#replicas > 0) {
      return new Promise((resolve, reject) => {
        this.#waiting.push({ command, resolve, reject, waits: 0 });
        if (!this.#underWay) void this.#run();
      });
    }
    for (let waits = 0; ; waits++) {
      const [reply] = await this.#connection.pipeline([command]);
      if (!(reply instanceof Error)) return reply;
      if (!isMoving(reply) || waits >= MOVING_WAITS) throw reply;
      await sleep(MOVING_WAIT_MS);
    }
  }

  async #run(): Promise<void> {
    this.#underWay = true;
    while (this.#waiting.length > 0) {
      const calls = this.#waiting.splice(0, PER_ROUND);
      try {
        const wait = ['WAIT', this.#replicas, WAIT_MS];
        const replies = await this.#connection.pipeline([...calls.map(({ command }) => command), wait], WAIT_MS);
        const waited = replies.pop();
        const failed = waited instanceof Error ? waited : missing(waited, this.#replicas);
        if (waited instanceof Error) this.#refuse(this.#waiting.splice(0), waited);
        const again: Call[] = [];
        calls.forEach((call, i) => {
          const reply = replies[i];
          if (reply instanceof Error && isMoving(reply) && ++call.waits <= MOVING_WAITS) again.push(call);
          else if (reply instanceof Error) call.reject(reply);
          else if (failed) call.reject(failed);
          else call.resolve(reply);
        });
        this.#waiting.unshift(...again);
        if (again.length > 0) await sleep(MOVING_WAIT_MS);
      } catch (error) {
        this.#refuse([...calls, ...this.#waiting.splice(0)], error);
      }
    }
    this.#underWay = false;
  }

  #refuse(calls: readonly Call[], error: unknown): void {
    for (const { reject } of calls) reject(error);
  }
}

/** Nothing was executed: the keys are on their way to another server, or nobody has them at this moment. */
function isMoving({ message }: Error): boolean {
  return /^(ASK|TRYAGAIN|CLUSTERDOWN) /.test(message);
}

/** The error when the reply of a WAIT is below what was asked for. */
export function missing(acked: unknown, replicas: number): NotReplicatedError | undefined {
  if (Number(acked) >= replicas) return undefined;
  return new NotReplicatedError(`${acked} of ${replicas} replicas had it after ${WAIT_MS} ms`);
}

/** The lanes of a process, each made when it is first needed. */
export class ScriptLanes {
  readonly #store: RedisStore;
  readonly #keys: Keyspace;
  readonly #replicas: number;
  readonly #lanes = new Map<number, ScriptLane>();
  readonly #hasty: Map<number, ScriptLane>;

  constructor(store: RedisStore, keys: Keyspace, replicas: number) {
    this.#store = store;
    this.#keys = keys;
    this.#replicas = replicas;
    this.#hasty = replicas === 0 ? this.#lanes : new Map();
  }

  /** For calls that touch the keys of this partition. On one server all share a lane. */
  lane(partition: number): ScriptLane {
    return this.#laneIn(this.#lanes, partition, this.#replicas);
  }

  /** The same without waiting for replicas: for what is repeated when a failover takes it back. */
  hasty(partition: number): ScriptLane {
    return this.#laneIn(this.#hasty, partition, 0);
  }

  #laneIn(lanes: Map<number, ScriptLane>, partition: number, replicas: number): ScriptLane {
    const group = this.#store.kind === 'cluster' ? partition : 0;
    let lane = lanes.get(group);
    if (!lane) {
      lane = this.#store.lane(group, this.#keys.partitions, replicas);
      lanes.set(group, lane);
    }
    return lane;
  }

  /**
   * Resolves when the channel's events up to `seq`, read on another connection, are durable. Rejects when they are not, or
   * when the server that this asks does not have them.
   */
  async confirm(channel: string, seq: number): Promise<void> {
    if (this.#replicas === 0) return;
    const command = ['HGET', this.#keys.channel(channel), 'seq'];
    const last = await this.lane(this.#keys.partitionOf(channel)).call(command);
    if (Number(last) < seq) throw new NotReplicatedError(`the channel is at ${last}, and was read at ${seq}`);
  }
}
