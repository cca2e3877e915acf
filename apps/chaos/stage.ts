/** Where a promise is put to the test: Redis, gateways, fan-out and archiver as real processes, and a look into Redis. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type Keyspace, keyspace } from '../../lib/keyspace/index.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';

export class Stage {
  readonly redis: RedisServer;
  readonly deployment: Deployment;
  readonly gateways: readonly MillraceProcess[];
  readonly keys: Keyspace = keyspace(16);
  readonly store: Redis;
  readonly #folder: string;

  private constructor(redis: RedisServer, deployment: Deployment, gateways: MillraceProcess[], folder: string) {
    this.redis = redis;
    this.deployment = deployment;
    this.gateways = gateways;
    this.#folder = folder;
    this.store = new Redis(redis.url);
  }

  static async set(
    gateways = 2,
    options: { env?: Record<string, string>; nodeArgs?: readonly string[] } = {},
  ): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-'));
    const redis = await startRedis();
    const archiveUrl = `sqlite:${join(folder, 'archive.sqlite')}`;
    const env = { PARTITIONS: '16', ...options.env };
    const deployment = new Deployment({ ...options, redisUrl: redis.url, archiveUrl, env });
    const started: MillraceProcess[] = [];
    for (let i = 0; i < gateways; i++) started.push(await deployment.start('gateway'));
    await deployment.start('fanout', 'archiver');
    return new Stage(redis, deployment, started, folder);
  }

  gateway(i: number): MillraceProcess {
    return this.gateways[i % this.gateways.length]!;
  }

  /** What the processes logged that no client may ever cause. */
  complaints(): string[] {
    return [...this.deployment.processes]
      .flatMap((process) => process.log)
      .filter((line) => /"level":(50|60)|unexpected failure|unhandled/i.test(line));
  }

  async call<T>(user: string, line: string, body?: unknown, gateway = 0): Promise<T> {
    const [method, path] = line.split(' ') as [string, string];
    const response = await fetch(this.gateway(gateway).address + path, {
      method,
      headers: {
        authorization: `Bearer ${this.deployment.token(user)}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${line}: ${response.status} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  async clear(): Promise<void> {
    this.store.disconnect();
    await this.deployment.stop();
    await this.redis.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
