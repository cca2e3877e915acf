/** The commands of docs/backup.md, as they stand there. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { delimiter, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const page = readFileSync(new URL('../../../docs/backup.md', import.meta.url), 'utf8');
const root = fileURLToPath(new URL('../../../', import.meta.url));

/** What the page calls by these names; `path` is a folder before those of PATH. */
export interface Variables {
  BACKUP: string;
  ARCHIVE?: string;
  ARCHIVE_URL?: string;
  CASSANDRA_DATA?: string;
  REDIS_PORT?: string;
  REDIS_DIR?: string;
}

export async function runBlock(name: string, variables: Variables, path: readonly string[] = []): Promise<void> {
  const commands = new RegExp(`<!-- ${name} -->\n\`\`\`sh\n(.*?)\`\`\``, 's').exec(page)?.[1];
  if (commands === undefined) throw new Error(`docs/backup.md has no commands to ${name}`);
  const { PATH = '', HOME = '' } = process.env;
  const env = { HOME, PATH: [...path, dirname(process.execPath), PATH].join(delimiter), ...variables };
  await promisify(execFile)('sh', ['-eu', '-c', commands], { cwd: root, env });
}
