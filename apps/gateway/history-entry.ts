import type { ArchiveRow } from '../../lib/archive/index.ts';
import type { HistoryEntry } from '../../lib/protocol/http.ts';

/** A stored row as a client gets it; undefined for a type that this version does not know, which is void to it. */
export function historyEntry(row: ArchiveRow): HistoryEntry | undefined {
  const position = { channel: row.channel, seq: row.seq, id: row.id };
  const written = { from: row.from, client_id: row.clientId, ts: row.ts };
  switch (row.type) {
    case 'message':
      if (row.deleted) return { type: 'message', ...position, ...written, deleted: true };
      return {
        type: 'message',
        ...position,
        ...written,
        content: row.content ?? '',
        ...(row.metadata === undefined ? {} : { metadata: JSON.parse(row.metadata) as Record<string, string> }),
        ...(row.edited === undefined ? {} : { edited_at: row.edited.at }),
      };
    case 'edited': {
      const content = row.content === undefined ? {} : { content: row.content };
      return { type: 'edited', ...position, target: targetOf(row), ...written, ...content };
    }
    case 'deleted':
      return { type: 'deleted', ...position, target: targetOf(row), ...written };
    case 'created': {
      const { title } = data<{ title?: string }>(row);
      return { type: 'created', ...position, ...(title ? { title } : {}), by: row.from, ts: row.ts };
    }
    case 'renamed':
      return { type: 'renamed', ...position, title: data<{ title: string }>(row).title, by: row.from, ts: row.ts };
    case 'member': {
      const { user, action, role } = data<Pick<Member, 'user' | 'action' | 'role'>>(row);
      return { type: 'member', ...position, user, action, role, by: row.from, ts: row.ts };
    }
    default:
      return undefined;
  }
}

/** The archive refuses changes without one, and `rowOf` makes no others. */
function targetOf(row: ArchiveRow): number {
  return row.target?.seq ?? 0;
}

type Member = Extract<HistoryEntry, { type: 'member' }>;

/** The archive refuses rows whose data is not such an object, and `rowOf` makes no others. */
function data<T>(row: ArchiveRow): T {
  return JSON.parse(row.data ?? '{}') as T;
}
