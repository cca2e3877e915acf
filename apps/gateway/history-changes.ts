/**
 * Edits and deletions that are in the log and perhaps not yet in the archive, for messages that may be there for years.
 *
 * The log's changes of one channel are a chain: `changed` in the channel's hash names the latest, each entry's `prior` the
 * one before. What lies behind the archiver's position needs no look: whoever read the position before the archive has it
 * applied there. So a page costs nothing more, unless somebody changed something in the last moment.
 */
import { type LogEntry, rowOf } from '../../lib/archive/from-log.ts';
import type { ArchiveRow } from '../../lib/archive/index.ts';
import { compareIds } from '../../lib/redis/ids.ts';

/** Entries of a chain backwards from a log id, newest first; `next`: where to go on. */
export type Walk = (fromLogId: string, maxHops: number) => Promise<{ next: string | null; entries: LogEntry[] }>;

const HOPS_PER_CALL = 50;
const MAX_CALLS = 20;

export class Changes {
  /** The latest edit of each message, by its id. */
  readonly #edits = new Map<string, ArchiveRow>();
  readonly #deleted = new Set<string>();

  /** From newest to oldest. */
  add(row: ArchiveRow): void {
    if (row.target === undefined) return;
    const { id } = row.target;
    if (row.type === 'deleted') this.#deleted.add(id);
    else if (!this.#edits.has(id)) this.#edits.set(id, row);
  }

  /** The row as it is after these changes. The archive may be ahead of them: what is newer there stays. */
  applyTo(row: ArchiveRow): ArchiveRow {
    if (this.#deleted.has(row.target?.id ?? row.id)) return withoutText(row);
    const edit = row.type === 'message' && !row.deleted ? this.#edits.get(row.id) : undefined;
    if (edit?.content === undefined || (row.edited !== undefined && row.edited.seq >= edit.seq)) return row;
    return { ...row, content: edit.content, edited: { seq: edit.seq, at: edit.ts } };
  }
}

/** The row as it is once its message is deleted, or its author erased. */
export function withoutText(row: ArchiveRow): ArchiveRow {
  const { content: _, metadata: __, edited: ___, ...rest } = row;
  return row.type === 'message' ? { ...rest, deleted: true } : rest;
}

/** The changes above a log id. `complete` is false when there are more than a page may cost to look at. */
export async function changesAbove(
  walk: Walk,
  latest: string,
  above: string,
  failed: (error: unknown) => void,
): Promise<{ changes: Changes; complete: boolean }> {
  const changes = new Changes();
  let from: string | null = latest;
  for (let call = 0; call < MAX_CALLS && from !== null && compareIds(from, above) > 0; call++) {
    const { next, entries }: Awaited<ReturnType<Walk>> = await walk(from, HOPS_PER_CALL);
    for (const entry of entries) {
      try {
        changes.add(rowOf(entry));
      } catch (error) {
        failed(error);
      }
    }
    from = next;
  }
  return { changes, complete: from === null || compareIds(from, above) <= 0 };
}
