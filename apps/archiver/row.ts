/** A log entry as the archive keeps it. */
import type { ArchiveRow } from '../../lib/archive/index.ts';
import type { StreamEntry } from '../../lib/redis/blocking.ts';

/** Of an event, what goes into its `data`; the workers' own fields (prev, mv, via, name) are not kept. */
const EVENT_FIELDS = new Set(['title', 'user', 'action', 'role']);

/** Throws on an entry that no script of ours wrote. */
export function rowOf(entry: StreamEntry): ArchiveRow {
  const values = new Map<string, string>();
  for (let i = 0; i + 1 < entry.fields.length; i += 2) values.set(entry.fields[i]!, entry.fields[i + 1]!);
  const need = (name: string): string => {
    const value = values.get(name);
    if (value === undefined) throw new Error(`no field ${name}`);
    return value;
  };
  const type = need('type');
  const row: ArchiveRow = {
    channel: need('channel'),
    seq: Number(need('seq')),
    id: need('id'),
    logId: entry.id,
    type,
    from: need('from'),
    clientId: need('cid'),
    ts: Number(need('ts')),
  };
  const metadata = values.get('metadata');
  if (metadata !== undefined) row.metadata = metadata;
  if (type === 'message') {
    row.content = need('content');
    return row;
  }
  const data: Record<string, string | string[]> = {};
  for (const [name, value] of values) if (EVENT_FIELDS.has(name)) data[name] = value;
  const members = values.get('members');
  if (members !== undefined) data.members = members.split(' ');
  row.data = JSON.stringify(data);
  return row;
}
