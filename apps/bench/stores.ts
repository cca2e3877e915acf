/** The Redis that is measured: one server, one with replicas, or a cluster. */
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';

export interface StoresOptions {
  /** Of a cluster. Without it: one server, and no cluster. */
  primaries?: number;
  /** Of the one server. */
  replicas?: number;
}

export interface Stores {
  url: string;
  primaries: readonly RedisServer[];
  /** By the name under which their CPU counts. */
  servers: Readonly<Record<string, RedisServer>>;
  stop(): Promise<void>;
}

export async function startStores({ primaries, replicas = 0 }: StoresOptions): Promise<Stores> {
  if (primaries !== undefined) {
    // A node that nobody has met does not know its own address.
    const cluster = await startRedisCluster({ primaries, extraArgs: ['--cluster-announce-ip', '127.0.0.1'] });
    const servers = Object.fromEntries(cluster.nodes.map((node, i) => [`redis ${i + 1}`, node]));
    return { url: cluster.url, primaries: cluster.nodes, servers, stop: () => cluster.stop() };
  }
  const primary = await startRedis();
  const servers: Record<string, RedisServer> = { redis: primary };
  const extraArgs = ['--replicaof', primary.host, String(primary.port), '--repl-diskless-sync-delay', '0'];
  for (let i = 1; i <= replicas; i++) servers[`redis replica ${i}`] = await startRedis({ extraArgs });
  return {
    url: primary.url,
    primaries: [primary],
    servers,
    stop: async () => void (await Promise.all(Object.values(servers).map((server) => server.stop()))),
  };
}
