/** Starts a primary, its replicas and the Sentinels that watch them, on the loopback interface. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { temporaryFolder } from '../reaper.ts';
import { findOnPath, freePort, launchProcess, type RedisServer, startRedis } from './server.ts';
import { type Tls, tlsArgs, tlsSettings } from './tls.ts';

export interface SentinelSetupOptions {
  replicas?: number;
  sentinels?: number;
  /** What the Sentinels call the primary. */
  name?: string;
  /** Everything speaks TLS to everything, and `url` is that of the TLS ports. The tests may use the others. */
  tls?: Tls;
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
  const { replicas: replicaCount = 1, sentinels: sentinelCount = 3, name = 'millrace', tls } = options;
  const started: RedisServer[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop()));
  };
  const add = async (server: Promise<RedisServer>): Promise<RedisServer> => {
    started.push(await server);
    return server;
  };
  try {
    const args = async (tlsPort?: number) => [
      ...['--repl-diskless-sync-delay', '0'],
      ...(tls ? [...tlsArgs(tls, tlsPort ?? (await freePort())), '--tls-replication', 'yes'] : []),
    ];
    const tlsPort = await freePort();
    const primary = await add(startRedis({ extraArgs: await args(tlsPort) }));
    const watched = { host: primary.host, port: tls ? tlsPort : primary.port };
    const follow = async () => [...(await args()), '--replicaof', watched.host, String(watched.port)];
    const some = <T>(count: number, make: () => Promise<T>): Promise<T[]> => {
      return Promise.all(Array.from({ length: count }, make));
    };
    const replicas = await some(replicaCount, async () => add(startRedis({ extraArgs: await follow() })));
    await until('the replicas follow', primary.url, async (redis) => {
      const info = await redis.info('replication');
      return (info.match(/state=online/g) ?? []).length === replicaCount;
    });
    const quorum = Math.floor(sentinelCount / 2) + 1;
    const tlsPorts = await some(sentinelCount, () => freePort());
    const sentinels = await Promise.all(
      tlsPorts.map((port) => add(launchSentinel(name, watched, quorum, tls && tlsSettings(tls, port)))),
    );
    for (const sentinel of sentinels) {
      await until('the Sentinels know each other', sentinel.url, async (redis) => {
        const info = await redis.info('sentinel');
        return info.includes(
          `status=ok,address=${watched.host}:${watched.port},slaves=${replicaCount},sentinels=${sentinelCount}`,
        );
      });
    }
    const at = sentinels.map(({ host, port }, i) => `${host}:${tls ? tlsPorts[i] : port}`).join(',');
    const url = tls ? `rediss+sentinel://${at}/${name}?ca=${tls.caFile}` : `redis+sentinel://${at}/${name}`;
    return { url, primary, replicas, sentinels, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function launchSentinel(
  name: string,
  primary: { host: string; port: number },
  quorum: number,
  tls?: [name: string, value: string][],
): Promise<RedisServer> {
  const binary = findOnPath('redis-server', 'valkey-server')!;
  const dir = temporaryFolder('sentinel');
  const port = await freePort();
  // A Sentinel keeps what it learns in its configuration file.
  const file = join(dir, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir "${dir}"`,
    ...(tls ? [...tls.map(([setting, value]) => `${setting} "${value}"`), 'tls-replication yes'] : []),
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
