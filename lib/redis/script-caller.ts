/** What the typed callers of scripts share: a client, the keys, and who is told of every call. */
import type { Cluster, Redis } from 'ioredis';
import type { Keyspace } from '../keyspace/index.ts';
import { run, type ScriptHost, type ScriptName, type ScriptObserver } from './scripts.ts';

export abstract class ScriptCaller<Host extends ScriptHost = Redis | Cluster> {
  protected readonly redis: Host;
  protected readonly keys: Keyspace;
  protected readonly observe: ScriptObserver | undefined;

  constructor(redis: Host, keys: Keyspace, observe?: ScriptObserver) {
    this.redis = redis;
    this.keys = keys;
    this.observe = observe;
  }

  protected run<Reply>(name: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<Reply> {
    return run<Reply>(this.redis, name, keys, args, this.observe);
  }
}
