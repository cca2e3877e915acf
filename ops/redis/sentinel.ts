/** Starts a primary, its replicas and the Sentinels that watch them, on the loopback interface. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { temporaryFolder } from '../reaper.ts';
import { keptPorts } from './ports.ts';
import { findOnPath, freePort, launchProcess, type RedisServer, startRedis } from './server.ts';
import { type Tls, tlsArgs, tlsSettings } from './tls.ts';

export interface SentinelSetupOptions {
  replicas?: number;
  sentinels?: number;
  /** What the Sentinels call the primary. */
  name?: string;
  /** Kept afterwards: a start in it finds its data again, with the primary of then. Without it: temporary ones. */
  dir?: string;
  /** For the data servers. */
  extraArgs?: readonly string[];
  /** Everything speaks TLS to everything, and `url` is that of the TLS ports. The tests may use the others. */
  tls?: Tls;
  /** Of each data server, the primary first, beside our own environment. */
  envOf?: (index: number) => Readonly<Record<string, string>>;
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
  const {
    replicas: replicaCount = 1,
    sentinels: sentinelCount = 3,
    name = 'millrace',
    tls,
    dir,
    envOf = () => ({}),
  } = options;
  const kept = dir === undefined ? undefined : await keptPorts(dir, 1 + replicaCount + sentinelCount);
  // Folders are called by their place among the ports.
  const folders = (kept?.now ?? []).map((port, i) => ({
    dir: join(dir!, i <= replicaCount ? `server-${i + 1}` : `sentinel-${i - replicaCount}`),
    port,
  }));
  const sentinelFolders = folders.slice(1 + replicaCount);
  const lastPrimary = portOfPrimary(sentinelFolders.map((folder) => join(folder.dir, 'sentinel.conf')));
  const first = Math.max(0, kept?.before?.indexOf(lastPrimary) ?? 0);
  const [ofPrimary = {}, ...ofReplicas] = folders.slice(0, 1 + replicaCount).sort((a, b) => {
    return Number(b === folders[first]) - Number(a === folders[first]);
  });
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
      ...['--repl-diskless-sync-delay', '0', ...(options.extraArgs ?? [])],
      ...(tls ? [...tlsArgs(tls, tlsPort ?? (await freePort())), '--tls-replication', 'yes'] : []),
    ];
    const tlsPort = await freePort();
    const primary = await add(startRedis({ ...ofPrimary, extraArgs: await args(tlsPort), env: envOf(0) }));
    const watched = { host: primary.host, port: tls ? tlsPort : primary.port };
    const follow = async () => [...(await args()), '--replicaof', watched.host, String(watched.port)];
    const some = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> => {
      return Promise.all(Array.from({ length: count }, (_, index) => make(index)));
    };
    const replicas = await some(replicaCount, async (i) =>
      add(startRedis({ ...ofReplicas[i], extraArgs: await follow(), env: envOf(i + 1) })),
    );
    await until('the replicas follow', primary.url, async (redis) => {
      const info = await redis.info('replication');
      return (info.match(/state=online/g) ?? []).length === replicaCount;
    });
    const quorum = Math.floor(sentinelCount / 2) + 1;
    const tlsPorts = await some(sentinelCount, () => freePort());
    const sentinels = await Promise.all(
      tlsPorts.map((port, i) =>
        add(launchSentinel(name, watched, quorum, tls && tlsSettings(tls, port), sentinelFolders[i])),
      ),
    );
    for (const sentinel of sentinels) {
      await until('the Sentinels know each other', sentinel.url, async (redis) => {
        const info = await redis.info('sentinel');
        return info.includes(
          `status=ok,address=${watched.host}:${watched.port},slaves=${replicaCount},sentinels=${sentinelCount}`,
        );
      });
    }
    kept?.keep();
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
  place?: { dir: string; port: number },
): Promise<RedisServer> {
  const binary = findOnPath('redis-server', 'valkey-server')!;
  const dir = place ? resolve(place.dir) : temporaryFolder('sentinel');
  const port = place?.port ?? (await freePort());
  mkdirSync(dir, { recursive: true });
  rmSync(join(dir, 'redis.log'), { force: true });
  // A Sentinel keeps what it learns in its configuration file. All that it cannot learn again from the primary is which
  // server that is.
  const file = join(dir, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir "${dir}"`,
    ...(tls ? [...tls.map(([setting, value]) => `${setting} "${value}"`), 'tls-replication yes'] : []),
    `logfile "${join(dir, 'redis.log')}"`,
    `sentinel monitor ${name} ${primary.host} ${primary.port} ${quorum}`,
    // Twice as long as from one ping to the next: a primary that lives and is replaced goes on accepting for a moment, with
    // the ack of a replica that was not told yet, and that is lost.
    `sentinel down-after-milliseconds ${name} 2000`,
    `sentinel failover-timeout ${name} 5000`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const args = [file, '--sentinel'];
  return launchProcess({
    binary,
    args,
    dir,
    port,
    temporary: place === undefined,
    logFile: join(dir, 'redis.log'),
    ready: '+monitor',
  });
}

/** Whom the Sentinels took for the primary when they last ran: the latest of their opinions; 0 when there is none. */
function portOfPrimary(files: readonly string[]): number {
  let port = 0;
  let epoch = -1;
  for (const file of files) {
    const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
    const found = Number(/^sentinel config-epoch \S+ (\d+)/m.exec(text)?.[1] ?? 0);
    const watched = /^sentinel monitor \S+ \S+ (\d+)/m.exec(text)?.[1];
    if (watched === undefined || found <= epoch) continue;
    epoch = found;
    port = Number(watched);
  }
  return port;
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
