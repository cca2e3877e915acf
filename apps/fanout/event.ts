/** A log entry as fan-out sees it: what decides the recipients, and the fields that go into their inboxes. */
import type { StreamEntry } from '../../lib/redis/blocking.ts';

export interface LogEvent {
  logId: string;
  channel: string;
  seq: number;
  /** The members must be known at least as of this version. */
  membersVersion: number;
  /** Of a `created` event: its own list. */
  members?: string[];
  /** The sending device, '' over HTTP. */
  via: string;
  fields: string[];
}

/** Fields that all entries open with, in this order; `append.lua` and the others write them so. */
const HEAD = ['type', 'channel', 'seq', 'id', 'from', 'cid', 'ts'];
/** For the workers only. */
const INTERNAL = new Set(['prev', 'mv', 'via', 'target_id', 'prior']);

export function parseEvent(entry: StreamEntry): LogEvent | { error: string } {
  const { fields } = entry;
  for (let i = 0; i < HEAD.length; i++) {
    if (fields[2 * i] !== HEAD[i]) return { error: `field ${i + 1} is not ${HEAD[i]}` };
  }
  const event: LogEvent = {
    logId: entry.id,
    channel: fields[3] ?? '',
    seq: Number(fields[5]),
    membersVersion: 0,
    via: '',
    fields: fields.slice(0, 14),
  };
  if (!/^(dm:[\w.-]+:[\w.-]+|g:[\w.-]+)$/.test(event.channel)) return { error: 'not a channel' };
  if (!Number.isSafeInteger(event.seq) || event.seq < 1) return { error: 'not a sequence number' };
  for (let i = 14; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const value = fields[i + 1] ?? '';
    if (name === 'mv') event.membersVersion = Number(value);
    else if (name === 'via') event.via = value;
    else if (name === 'members') event.members = value.split(' ');
    if (!INTERNAL.has(name)) event.fields.push(name, value);
  }
  return event;
}
