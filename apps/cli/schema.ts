import type { Command } from 'commander';
import { openArchive } from '../../lib/archive/index.ts';
import { withoutPassword } from '../../lib/config/index.ts';
import { createLogger } from '../../lib/telemetry/logger.ts';
import { operatorConfig } from './credentials.ts';

export function registerSchema(program: Command): void {
  program
    .command('schema')
    .description('Bring the archive (ARCHIVE_URL) up to the schema that this version needs; safe to repeat.')
    .option('--archive <url>', 'instead of ARCHIVE_URL')
    .option('--json', 'what was applied, as JSON')
    .action(async (options: { archive?: string; json?: true }) => {
      const config = operatorConfig();
      const url = options.archive ?? config.archiveUrl;
      const archive = await openArchive(url, { logger: createLogger({ name: 'schema', level: 'warn' }) });
      try {
        const applied = await archive.applySchema();
        if (options.json) console.log(JSON.stringify({ archive: archive.kind, applied }));
        else if (applied.length === 0) console.log(`${withoutPassword(url)}: up to date`);
        else console.log(`${withoutPassword(url)}: applied ${applied.join(', ')}`);
      } finally {
        await archive.close();
      }
    });
}
