/** Limits that the whole deployment counts together: only for what is rare, because each costs a round trip. */
import type { Cluster, Redis } from 'ioredis';
import type { Keyspace } from '../keyspace/index.ts';
import { run, type ScriptObserver } from './scripts.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3600_000;

export class LimitVerbs {
  readonly #redis: Redis | Cluster;
  readonly #keys: Keyspace;
  readonly #observe: ScriptObserver | undefined;

  constructor(redis: Redis | Cluster, keys: Keyspace, observe?: ScriptObserver) {
    this.#redis = redis;
    this.#keys = keys;
    this.#observe = observe;
  }

  /** Resolves with how long to wait, in ms; 0: it may be. */
  newChannel(user: string, perHour: number): Promise<number> {
    return this.#take(this.#keys.bucket('channels', user), perHour, HOUR_MS);
  }

  newConnection(address: string, perMinute: number): Promise<number> {
    return this.#take(this.#keys.bucket('connections', address), perMinute, MINUTE_MS);
  }

  #take(key: string, tokens: number, fillMs: number): Promise<number> {
    return run<number>(this.#redis, 'bucket', [key], [tokens, fillMs], this.#observe);
  }
}
