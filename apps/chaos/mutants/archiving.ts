/** Planted into the archiver and the archive. */
import type { Mutant } from './mutant.ts';

export const archiving: readonly Mutant[] = [
  {
    name: 'archiver-ahead',
    does: 'the archiver moves its position two seconds before the rows are written',
    breaks: 'notArchived',
    fault: 'archiver-kill',
    // Until another one has the dead one's partitions.
    run: { seconds: 20, settleMs: 30_000 },
    edits: [
      {
        file: 'apps/archiver/main.ts',
        was: 'const perWrite = ROWS_PER_WRITE[archive.kind];',
        becomes: `for (const { partition, entries } of batches) {
      const last = entries.at(-1);
      if (last && logs.held.has(partition))
        await verbs.advance(partition, ROLE, last.id, { tailMs: LOG_TAIL_MS, ...config }, LOG_ROLES);
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const perWrite = ROWS_PER_WRITE[archive.kind];`,
      },
    ],
  },
  {
    name: 'archive-row-lost',
    does: 'the archiver passes over one row in 20',
    breaks: 'notArchived',
    always: true,
    edits: [
      {
        file: 'apps/archiver/main.ts',
        was: 'const chunk = rows.slice(i, i + perWrite);',
        becomes: 'const chunk = rows.slice(i, i + perWrite).filter(({ seq }) => seq % 20 !== 7);',
      },
    ],
  },
  {
    name: 'deleted-comes-back',
    does: 'an archiver writes what it wrote before once more, and the archive does not look for later changes of it',
    breaks: 'archivedWrong',
    always: true,
    edits: [
      {
        file: 'apps/archiver/main.ts',
        was: 'const INTERVAL_MS = 250;',
        becomes: 'const INTERVAL_MS = 250;\nconst before: ArchiveRow[] = [];',
      },
      {
        file: 'apps/archiver/main.ts',
        was: 'const perWrite = ROWS_PER_WRITE[archive.kind];',
        becomes: `rows.unshift(...before.splice(0));
    before.push(...rows.filter(({ type }) => type === 'message'));
    const perWrite = ROWS_PER_WRITE[archive.kind];`,
      },
      {
        file: 'lib/archive/embedded/changes.ts',
        was: "if (type !== 'message') continue;",
        becomes: 'continue;',
      },
    ],
  },
  {
    name: 'deletion-not-final',
    does: 'in the archive a deletion counts only when it is the first change of its message',
    breaks: 'archivedWrong',
    edits: [
      {
        file: 'lib/archive/embedded/changes.ts',
        was: "changes.some(({ type }) => type === 'deleted')",
        becomes: "changes[0]?.type === 'deleted'",
      },
    ],
  },
];
