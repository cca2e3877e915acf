/** The Redis that a development start brings along: one server, or what stands in production, on this machine. */
import { join } from 'node:path';
import { ConfigError } from '../../lib/config/index.ts';
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { ensureRedis } from '../../ops/redis/install.ts';
import { startSentinel } from '../../ops/redis/sentinel.ts';
import { startRedis } from '../../ops/redis/server.ts';

export const redisKinds = ['standalone', 'sentinel', 'cluster'] as const;
export type RedisKind = (typeof redisKinds)[number];

export interface OwnRedis {
  url: string;
  /** What is told of it, a line each; `tryNext`: what to do with it. */
  said: string[];
  tryNext: string[];
  stop(): Promise<void>;
}

/** A primary that was cut off accepts nothing: with ACK_REPLICAS, what makes a failover lose nothing. */
const replicated = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '2'];

export const isReplicated = (kind: RedisKind): boolean => kind !== 'standalone';

export const kindOfUrl = (url: string): RedisKind =>
  /^rediss?\+(sentinel|cluster):/.test(url) ? (url.includes('+cluster:') ? 'cluster' : 'sentinel') : 'standalone';

/**
 * Where a kind keeps its data. Each has an archive of its own: a Redis that has never seen the messages of an archive
 * would give their numbers out again.
 */
export const dataOf = (kind: RedisKind, dataDir: string): string =>
  isReplicated(kind) ? join(dataDir, kind) : dataDir;

export async function startOwnRedis(kind: RedisKind, dataDir: string): Promise<OwnRedis> {
  try {
    ensureRedis((line) => process.stderr.write(`${line}\n`));
    return await start[kind](join(dataOf(kind, dataDir), 'redis'));
  } catch (error) {
    // Its messages say what to do.
    throw new ConfigError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

const start: Record<RedisKind, (dir: string) => Promise<OwnRedis>> = {
  async standalone(dir) {
    const server = await startRedis({ dir });
    return {
      url: server.url,
      said: [`Redis: started one, redis-cli -p ${server.port} (data in ${dir})`],
      tryNext: [],
      stop: () => server.stop(),
    };
  },

  async cluster(dir) {
    const cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 2, dir, extraArgs: replicated });
    const at = (role: string) => {
      const some = cluster.nodes.filter((node) => node.role === role);
      return some.map(({ host, port }) => `${host}:${port}`).join(' ');
    };
    const primary = cluster.nodes.find(({ role }) => role === 'primary')!;
    return {
      url: cluster.url,
      said: [`Redis: a cluster (data in ${dir})`, `  primaries ${at('primary')}`, `  replicas  ${at('replica')}`],
      tryNext: [
        `redis-cli -c -p ${primary.port} CLUSTER NODES`,
        `redis-cli -c -p ${primary.port} HGETALL millrace`,
        `kill -9 ${primary.pid}    (a primary: one of its replicas takes over, and nothing is lost)`,
      ],
      stop: () => cluster.stop(),
    };
  },

  async sentinel(dir) {
    const setup = await startSentinel({ replicas: 2, dir, extraArgs: replicated });
    const at = (servers: readonly { host: string; port: number }[]) =>
      servers.map(({ host, port }) => `${host}:${port}`).join(' ');
    const sentinel = setup.sentinels[0]!;
    return {
      url: setup.url,
      said: [
        `Redis: a primary that Sentinels watch (data in ${dir})`,
        `  primary   ${at([setup.primary])}`,
        `  replicas  ${at(setup.replicas)}`,
        `  Sentinels ${at(setup.sentinels)}`,
      ],
      tryNext: [
        `redis-cli -p ${sentinel.port} SENTINEL GET-MASTER-ADDR-BY-NAME millrace`,
        `redis-cli -p ${setup.primary.port} INFO replication`,
        `kill -9 ${setup.primary.pid}    (the primary: one of its replicas takes over, and nothing is lost)`,
      ],
      stop: () => setup.stop(),
    };
  },
};
