/** Starts a primary, its replicas and the Sentinels that watch them, on the loopback interface. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { temporaryFolder } from '../reaper.ts';
import { findOnPath, freePort, launchProcess, type RedisServer, startRedis } from './server.ts';

export interface SentinelSetupOptions {
  replicas?: number;
  sentinels?: number;
  /** What the Sentinels call the primary. */
  name?: string;
}

export interface SentinelSetup {
  readonly url: string;
  /** The primary at the start; a failover changes that. */
  readonly primary: RedisServer;
  readonly replicas: readonly RedisServer[];
  readonly sentinels: readonly RedisServer[];
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 30_000;

export async function startSentinel(options: SentinelSetupOptions = {}): Promise<SentinelSetup> {
  const { replicas: replicaCount = 1, sentinels: sentinelCount = 3, name = 'millrace' } = options;
  const started: RedisServer[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop()));
  };
  const add = async (server: Promise<RedisServer>): Promise<RedisServer> => {
    started.push(await server);
    return server;
  };
  try {
    const fast = ['--repl-diskless-sync-delay', '0'];
    const primary = await add(startRedis({ extraArgs: fast }));
    const follow = [...fast, '--replicaof', primary.host, String(primary.port)];
    const some = <T>(count: number, make: () => Promise<T>): Promise<T[]> => {
      return Promise.all(Array.from({ length: count }, make));
    };
    const replicas = await some(replicaCount, () => add(startRedis({ extraArgs: follow })));
    await until('the replicas follow', primary.url, async (redis) => {
      const info = await redis.info('replication');
      return (info.match(/state=online/g) ?? []).length === replicaCount;
    });
    const quorum = Math.floor(sentinelCount / 2) + 1;
    const sentinels = await some(sentinelCount, () => add(launchSentinel(name, primary, quorum)));
    for (const sentinel of sentinels) {
      await until('the Sentinels know each other', sentinel.url, async (redis) => {
        const info = await redis.info('sentinel');
        return info.includes(
          `status=ok,address=${primary.host}:${primary.port},slaves=${replicaCount},sentinels=${sentinelCount}`,
        );
      });
    }
    const url = `redis+sentinel://${sentinels.map(({ host, port }) => `${host}:${port}`).join(',')}/${name}`;
    return { url, primary, replicas, sentinels, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function launchSentinel(name: string, primary: RedisServer, quorum: number): Promise<RedisServer> {
  const binary = findOnPath('redis-server', 'valkey-server')!;
  const dir = temporaryFolder('sentinel');
  const port = await freePort();
  // A Sentinel keeps what it learns in its configuration file.
  const file = join(dir, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir "${dir}"`,
    `logfile "${join(dir, 'redis.log')}"`,
    `sentinel monitor ${name} ${primary.host} ${primary.port} ${quorum}`,
    `sentinel down-after-milliseconds ${name} 1000`,
    `sentinel failover-timeout ${name} 5000`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const args = [file, '--sentinel'];
  return launchProcess({
    binary,
    args,
    dir,
    port,
    temporary: true,
    logFile: join(dir, 'redis.log'),
    ready: '+monitor',
  });
}

async function until(what: string, url: string, holds: (redis: Redis) => Promise<boolean>): Promise<void> {
  const redis = new Redis(url);
  const deadline = Date.now() + READY_TIMEOUT_MS;
  try {
    while (!(await holds(redis))) {
      if (Date.now() > deadline) throw new Error(`Sentinel did not start in time: waiting until ${what}`);
      await sleep(50);
    }
  } finally {
    redis.disconnect();
  }
}
