/** What the typed callers of scripts share: a client, the keys, and who is told of every call. */
import type { Cluster, Redis } from 'ioredis';
import type { Keyspace } from '../keyspace/index.ts';
import type { ScriptLanes } from './script-lane.ts';
import { run, type ScriptHost, type ScriptName, type ScriptObserver } from './scripts.ts';

export abstract class ScriptCaller<Host extends ScriptHost = Redis | Cluster> {
  protected readonly redis: Host;
  protected readonly keys: Keyspace;
  readonly #observe: ScriptObserver | undefined;

  readonly #lanes: ScriptLanes | undefined;

  /** `lanes`: connections of their own for what commits, and what is called all the time; without them, the same one. */
  constructor(redis: Host, keys: Keyspace, observe?: ScriptObserver, lanes?: ScriptLanes) {
    this.redis = redis;
    this.keys = keys;
    this.#observe = observe;
    this.#lanes = lanes;
  }

  protected run<Reply>(name: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<Reply> {
    return run<Reply>(this.redis, name, keys, args, this.#observe);
  }

  protected runInLane<Reply>(
    partition: number,
    name: ScriptName,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<Reply> {
    return run<Reply>(this.#lanes?.lane(partition) ?? this.redis, name, keys, args, this.#observe);
  }

  /** For what is called all the time and waits for no replicas. */
  protected runHasty<Reply>(
    partition: number,
    name: ScriptName,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<Reply> {
    return run<Reply>(this.#lanes?.hasty(partition) ?? this.redis, name, keys, args, this.#observe);
  }
}
