/** Redis in each of its forms, saved, lost and restored by the commands of docs/backup.md. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startRedisCluster } from '../../../ops/redis/cluster.ts';
import { startSentinel } from '../../../ops/redis/sentinel.ts';
import { type RedisServer, startRedis } from '../../../ops/redis/server.ts';
import { runBlock, type Variables } from './commands.ts';
import type { Store } from './store.ts';

export async function oneRedis(folder: string): Promise<Store> {
  let server = await startRedis({ dir: join(folder, 'redis') });
  const variables = variablesOf(server, join(folder, 'backup', 'redis'));
  return {
    url: server.url,
    save: () => runBlock('save Redis', variables),
    lose: () => lose([server]),
    async restore() {
      await runBlock('restore Redis', variables);
      server = await startRedis({ dir: server.dir, port: server.port });
      await runBlock('finish', variables);
    },
    stop: () => server.stop(),
  };
}

/** A primary, a replica, and the Sentinels, which forget whom they took for the primary, too. */
export async function underSentinel(folder: string): Promise<Store> {
  const dir = join(folder, 'sentinel');
  let setup = await startSentinel({ dir });
  const variables = variablesOf(setup.primary, join(folder, 'backup', 'redis'));
  return {
    url: setup.url,
    save: () => runBlock('save Redis', variables),
    lose: () => lose([...setup.sentinels, ...setup.replicas, setup.primary]),
    async restore() {
      await runBlock('restore Redis', variables);
      // The primary first, then the replica, which is empty, and the Sentinels last.
      setup = await startSentinel({ dir });
      await runBlock('finish', variables);
    },
    stop: () => setup.stop(),
  };
}

/** Three primaries with a replica each. */
export async function cluster(folder: string): Promise<Store> {
  const options = { dir: join(folder, 'cluster'), replicasPerPrimary: 1 } as const;
  let running = await startRedisCluster(options);
  const nodes = running.nodes.map((node, i) => ({
    role: node.role,
    variables: variablesOf(node, join(folder, 'backup', `node-${i + 1}`)),
  }));
  const primaries = nodes.filter(({ role }) => role === 'primary');
  return {
    url: running.url,
    async save() {
      for (const { variables } of primaries) await runBlock('save Redis', variables);
      for (const { variables } of nodes) await runBlock('save a node’s place', variables);
    },
    lose: () => lose(running.nodes),
    async restore() {
      for (const { role, variables } of nodes) {
        if (role === 'primary') await runBlock('restore Redis', variables);
        await runBlock('restore a node’s place', variables);
      }
      // The primaries first, and when they have read their files the replicas, which are empty.
      running = await startRedisCluster(options);
      for (const { variables } of primaries) await runBlock('finish', variables);
    },
    stop: () => running.stop(),
  };
}

function variablesOf({ port, dir }: RedisServer, backup: string): Variables {
  return { REDIS_PORT: String(port), REDIS_DIR: dir, BACKUP: backup };
}

async function lose(servers: readonly RedisServer[]): Promise<void> {
  for (const server of servers) server.kill('SIGKILL');
  for (const server of servers) {
    await server.stop();
    rmSync(server.dir, { recursive: true });
    mkdirSync(server.dir);
  }
}
