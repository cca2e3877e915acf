import type { ArchiveRow } from './archive.ts';

/** An entry of a partition's log, as a stream gives it: name, value, name, value … */
export interface LogEntry {
  id: string;
  fields: readonly string[];
}

/** Columns of their own in a row, by the log's name for them. */
const COLUMNS = new Set(['type', 'channel', 'seq', 'id', 'from', 'cid', 'ts', 'content', 'metadata']);
/** Of a change of a message: columns too. */
const TARGET = new Set(['target', 'target_id']);
/** For delivery only; history does not need them. */
const DELIVERY = new Set(['prev', 'mv', 'name', 'via', 'prior']);

/**
 * The row that a log entry becomes. Fields of an event that have no column go into `data`, whatever they are called, so
 * that an event type of a later version is archived whole. Throws on an entry that no script of ours wrote.
 */
export function rowOf(entry: LogEntry): ArchiveRow {
  const values = new Map<string, string>();
  for (let i = 0; i + 1 < entry.fields.length; i += 2) {
    values.set(entry.fields[i]!, entry.fields[i + 1]!);
  }
  const need = (name: string): string => {
    const value = values.get(name);
    if (value === undefined) {
      throw new Error(`the field ${name} is missing`);
    }
    return value;
  };
  const number = (name: string): number => {
    const value = Number(need(name));
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new Error(`the field ${name} is not a whole number: ${need(name)}`);
    }
    return value;
  };
  const type = need('type');
  const isChange = type === 'edited' || type === 'deleted';
  const data: Record<string, string | string[]> = {};
  for (const [name, value] of values) {
    if (!COLUMNS.has(name) && !DELIVERY.has(name) && !(isChange && TARGET.has(name))) {
      data[name] = name === 'members' ? value.split(' ').filter((user) => user !== '') : value;
    }
  }
  const [content, metadata] = [values.get('content'), values.get('metadata')];
  const target = isChange ? { target: { seq: number('target'), id: need('target_id') } } : {};
  return {
    channel: need('channel'),
    seq: number('seq'),
    id: need('id'),
    logId: entry.id,
    type,
    from: need('from'),
    clientId: need('cid'),
    ts: number('ts'),
    ...(content === undefined ? {} : { content }),
    ...(metadata === undefined || metadata === '' ? {} : { metadata }),
    ...target,
    ...(Object.keys(data).length === 0 ? {} : { data: JSON.stringify(data) }),
  };
}
