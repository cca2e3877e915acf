/** What passes by without being stored. */
import type { Cluster, Redis } from 'ioredis';
import type { Keyspace } from '../keyspace/index.ts';
import { run, type ScriptObserver } from './scripts.ts';

export class SignalVerbs {
  readonly #redis: Redis | Cluster;
  readonly #keys: Keyspace;
  readonly #observe: ScriptObserver | undefined;

  constructor(redis: Redis | Cluster, keys: Keyspace, observe?: ScriptObserver) {
    this.#redis = redis;
    this.#keys = keys;
    this.#observe = observe;
  }

  /** To these users' sessions, wherever they are. All must be of partitions that one command may touch. */
  signal(users: readonly string[], signal: string): Promise<number> {
    const prefix = this.#keys.signal(this.#keys.partitionOf(users[0] ?? ''), '');
    const keys = users.map((user) => this.#keys.sessions(user));
    return run<number>(this.#redis, 'signal', keys, [prefix, signal, ...users], this.#observe);
  }
}
