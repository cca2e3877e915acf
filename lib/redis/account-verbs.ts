/**
 * What a user decides about themselves. A block is in two partitions: `blocks:{u}:<user>` says whom a user blocks, the direct
 * channel's hash is what sends are checked against. The set is written first and cleared last, so it names at least what is
 * enforced: the same call again after a crash in between completes either, and an erasure finds all of them.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Keyspace } from '../keyspace/index.ts';
import { directChannel } from '../protocol/ids.ts';
import { run, type ScriptObserver } from './scripts.ts';

export class AccountVerbs {
  readonly #redis: Redis | Cluster;
  readonly #keys: Keyspace;
  readonly #observe: ScriptObserver | undefined;

  constructor(redis: Redis | Cluster, keys: Keyspace, observe?: ScriptObserver) {
    this.#redis = redis;
    this.#keys = keys;
    this.#observe = observe;
  }

  async block(user: string, other: string): Promise<void> {
    await this.#redis.sadd(this.#keys.blocks(user), other);
    await this.#mark(user, other, 1);
  }

  async unblock(user: string, other: string): Promise<void> {
    await this.#mark(user, other, 0);
    await this.#redis.srem(this.#keys.blocks(user), other);
  }

  /** Sorted. */
  async blocks(user: string): Promise<string[]> {
    return (await this.#redis.smembers(this.#keys.blocks(user))).sort();
  }

  async #mark(user: string, other: string, on: 0 | 1): Promise<void> {
    const key = this.#keys.channel(directChannel(user, other));
    await run<'ok'>(this.#redis, 'block', [key], [user, other, on], this.#observe);
  }
}
