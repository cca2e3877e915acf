/** Archives that are saved, lost and restored by the commands of docs/backup.md. */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openArchive } from '../../../lib/archive/index.ts';
import { createLogger } from '../../../lib/telemetry/index.ts';
import { type Cassandra, startCassandra } from '../../../ops/cassandra/cassandra.ts';
import { nodetoolFolder } from '../../../ops/cassandra/nodetool.ts';
import { freePort } from '../../../ops/redis/server.ts';
import { runBlock } from './commands.ts';
import type { Store } from './store.ts';

export function sqlite(folder: string): Store {
  const file = join(folder, 'archive', 'archive.sqlite');
  const variables = { ARCHIVE: file, BACKUP: join(folder, 'backup') };
  mkdirSync(dirname(file));
  return {
    url: `sqlite:${file}`,
    save: () => runBlock('save SQLite', variables),
    async lose() {
      rmSync(dirname(file), { recursive: true });
      mkdirSync(dirname(file));
    },
    restore: () => runBlock('restore SQLite', variables),
    stop: async () => undefined,
  };
}

/** One node, which has the ports of before when it starts anew. */
export async function cassandra(folder: string): Promise<Store> {
  const dir = join(folder, 'cassandra');
  const jmxPort = await freePort();
  const path = [await nodetoolFolder(jmxPort)];
  let node: Cassandra = await startCassandra({ dir, jmxPort });
  const archive = await openArchive(node.url, { logger: createLogger({ name: 'test', level: 'silent' }) });
  await archive.applySchema();
  await archive.close();
  const variables = {
    ARCHIVE_URL: node.url,
    CASSANDRA_DATA: join(dir, 'data'),
    BACKUP: join(folder, 'backup', 'cassandra'),
  };
  return {
    url: node.url,
    save: () => runBlock('save Cassandra', variables, path),
    async lose() {
      node.kill('SIGKILL');
      await node.stop();
      for (const name of ['data', 'commitlog', 'saved_caches', 'hints', 'cdc_raw']) {
        rmSync(join(dir, name), { recursive: true, force: true });
      }
    },
    async restore() {
      node = await startCassandra({ dir, jmxPort });
      await runBlock('restore Cassandra', variables, path);
    },
    stop: () => node.stop(),
  };
}
