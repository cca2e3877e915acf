/** The Redis of a run, in each of the forms in which Millrace runs on one. */
import { Redis } from 'ioredis';
import { temporaryFolder } from '../../../ops/reaper.ts';
import { type RedisCluster, startRedisCluster } from '../../../ops/redis/cluster.ts';
import { type SentinelSetup, startSentinel } from '../../../ops/redis/sentinel.ts';
import { type RedisServer, startRedis } from '../../../ops/redis/server.ts';

export const TOPOLOGIES = ['standalone', 'sentinel', 'cluster'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

export interface Store {
  readonly topology: Topology;
  /** As `REDIS_URL` takes it. */
  readonly url: string;
  /** Data servers, those that are down excepted. */
  readonly servers: readonly RedisServer[];
  readonly cluster?: RedisCluster;
  readonly sentinel?: SentinelSetup;
  /** Killed, and started again on the same port from its append-only file. Standalone only. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startStore(topology: Topology): Promise<Store> {
  if (topology === 'cluster') {
    const cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 2 });
    return { topology, url: cluster.url, servers: cluster.nodes, cluster, restart: cannot, stop: () => cluster.stop() };
  }
  if (topology === 'sentinel') {
    const sentinel = await startSentinel({ replicas: 2 });
    const servers = [sentinel.primary, ...sentinel.replicas];
    return { topology, url: sentinel.url, servers, sentinel, restart: cannot, stop: () => sentinel.stop() };
  }
  // Every batch is synced: `everysec` may postpone even the write, and a killed server would take that with it.
  const options = { dir: temporaryFolder('redis'), extraArgs: ['--appendfsync', 'always'] };
  let server = await startRedis(options);
  return {
    topology,
    url: server.url,
    get servers() {
      return [server];
    },
    async restart() {
      const { port } = server;
      server.kill('SIGKILL');
      await server.stop();
      server = await startRedis({ ...options, port });
    },
    stop: () => server.stop(),
  };
}

async function cannot(): Promise<never> {
  throw new Error('only a standalone server is restarted so');
}

/** Asks one server, on a connection of its own. */
export async function on<T>(server: RedisServer, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ host: server.host, port: server.port, maxRetriesPerRequest: 1 });
  try {
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}
