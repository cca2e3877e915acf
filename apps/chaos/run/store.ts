/** The Redis of a run, in each of the forms in which Millrace runs on one. */
import { Redis } from 'ioredis';
import { type RedisCluster, startRedisCluster } from '../../../ops/redis/cluster.ts';
import { type SentinelSetup, startSentinel } from '../../../ops/redis/sentinel.ts';
import { type RedisServer, startRedis } from '../../../ops/redis/server.ts';
import { Clock, canSetClocks } from './clock.ts';
import { canMakeDisks, Disk } from './disk.ts';

export const TOPOLOGIES = ['standalone', 'sentinel', 'cluster'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** Disks of their own that can be full, under Redis and archive; a clock for each Redis server; an earlier version. */
export const NEEDS = ['disks', 'clocks', 'earlier'] as const;
export type Need = (typeof NEEDS)[number];

/** `earlier`: whether there are sources of an earlier version. */
export function canHave(need: Need, { earlier }: { earlier: boolean }): boolean {
  return { disks: canMakeDisks, clocks: canSetClocks, earlier }[need];
}

export interface Store {
  readonly topology: Topology;
  /** As `REDIS_URL` takes it. */
  readonly url: string;
  /** Data servers, also while they are down. */
  readonly servers: readonly RedisServer[];
  readonly cluster?: RedisCluster;
  readonly sentinel?: SentinelSetup;
  /** Under the files of a standalone server, when it is needed. */
  readonly disk?: Disk;
  /** One per server, in their order, when they are needed. */
  readonly clocks?: readonly Clock[];
  /** Arguments with which a server that was dead comes back as a replica of this one. */
  follow(primary: RedisServer): string[];
  stop(): Promise<void>;
}

export async function startStore(topology: Topology, needs: ReadonlySet<Need> = new Set()): Promise<Store> {
  const count = { standalone: 1, sentinel: 3, cluster: 9 }[topology];
  const clocks = needs.has('clocks') ? Array.from({ length: count }, () => new Clock()) : undefined;
  const envOf = (index: number) => clocks?.[index]?.env ?? {};
  const its = { topology, ...(clocks ? { clocks } : {}) };
  if (topology === 'cluster') {
    const cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 2, envOf });
    const { url, nodes } = cluster;
    // Nodes of a cluster find out by themselves.
    return { ...its, url, servers: nodes, cluster, follow: () => [], stop: () => cluster.stop() };
  }
  if (topology === 'sentinel') {
    const sentinel = await startSentinel({ replicas: 2, envOf });
    const servers = [sentinel.primary, ...sentinel.replicas];
    const follow = ({ host, port }: RedisServer) => ['--replicaof', host, String(port)];
    return { ...its, url: sentinel.url, servers, sentinel, follow, stop: () => sentinel.stop() };
  }
  const disk = needs.has('disks') ? new Disk('redis-disk') : undefined;
  const server = await startRedis({
    // Every batch is synced: `everysec` may postpone even the write, and a killed server would take that with it.
    extraArgs: ['--appendfsync', 'always'],
    env: envOf(0),
    ...(disk ? { dir: disk.folder } : {}),
  });
  const stop = async () => {
    await server.stop();
    disk?.remove();
  };
  return { ...its, url: server.url, servers: [server], ...(disk ? { disk } : {}), follow: () => [], stop };
}

/** Asks one server, on a connection of its own. */
export async function on<T>(server: RedisServer, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const { host, port } = server;
  const redis = new Redis({ host, port, maxRetriesPerRequest: 1, commandTimeout: 2_000 });
  redis.on('error', () => undefined); // told by what is asked
  try {
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}
