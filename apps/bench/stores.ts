/** The Redis that is measured: one server, one with replicas, perhaps watched by Sentinels, or a cluster. */
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { startSentinel } from '../../ops/redis/sentinel.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';

export interface StoresOptions {
  /** Of a cluster. Without it: one server, and no cluster. */
  primaries?: number;
  /** Of the one server, or of each primary. */
  replicas?: 0 | 1 | 2;
  /** That watch the one server. */
  sentinels?: number;
}

export interface Stores {
  url: string;
  primaries: readonly RedisServer[];
  /** Of the first primary. */
  replicas: readonly RedisServer[];
  /** By the name under which their CPU counts. */
  servers: Readonly<Record<string, RedisServer>>;
  stop(): Promise<void>;
}

export async function startStores({ primaries, replicas = 0, sentinels }: StoresOptions): Promise<Stores> {
  if (primaries !== undefined) {
    // A node that nobody has met does not know its own address.
    const extraArgs = ['--cluster-announce-ip', '127.0.0.1'];
    const cluster = await startRedisCluster({ primaries, replicasPerPrimary: replicas, extraArgs });
    const { nodes } = cluster;
    return {
      url: cluster.url,
      primaries: nodes.slice(0, primaries),
      replicas: nodes.slice(primaries).filter((_, i) => i % primaries === 0),
      servers: Object.fromEntries(nodes.map((node, i) => [`redis ${i + 1}`, node])),
      stop: () => cluster.stop(),
    };
  }
  if (sentinels !== undefined) {
    const watched = await startSentinel({ replicas, sentinels });
    const named = watched.replicas.map((replica, i) => [`redis replica ${i + 1}`, replica]);
    return {
      url: watched.url,
      primaries: [watched.primary],
      replicas: watched.replicas,
      servers: { redis: watched.primary, ...Object.fromEntries(named) },
      stop: () => watched.stop(),
    };
  }
  const primary = await startRedis();
  const servers: Record<string, RedisServer> = { redis: primary };
  const extraArgs = ['--replicaof', primary.host, String(primary.port), '--repl-diskless-sync-delay', '0'];
  for (let i = 1; i <= replicas; i++) servers[`redis replica ${i}`] = await startRedis({ extraArgs });
  return {
    url: primary.url,
    primaries: [primary],
    replicas: Object.values(servers).slice(1),
    servers,
    stop: async () => void (await Promise.all(Object.values(servers).map((server) => server.stop()))),
  };
}
