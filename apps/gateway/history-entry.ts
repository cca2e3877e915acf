import type { ArchiveRow } from '../../lib/archive/index.ts';
import type { HistoryEntry } from '../../lib/protocol/http.ts';

/** A stored row as a client gets it; undefined for a type that this version does not know, which is void to it. */
export function historyEntry(row: ArchiveRow): HistoryEntry | undefined {
  const position = { channel: row.channel, seq: row.seq, id: row.id };
  switch (row.type) {
    case 'message':
      return {
        type: 'message',
        ...position,
        from: row.from,
        client_id: row.clientId,
        ts: row.ts,
        content: row.content ?? '',
        ...(row.metadata === undefined ? {} : { metadata: JSON.parse(row.metadata) as Record<string, string> }),
      };
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

type Member = Extract<HistoryEntry, { type: 'member' }>;

/** The archive refuses rows whose data is not such an object, and `rowOf` makes no others. */
function data<T>(row: ArchiveRow): T {
  return JSON.parse(row.data ?? '{}') as T;
}
