import { ArchiveError, type ArchiveRow, type MemberAction } from './archive.ts';

/**
 * Sequence numbers per bucket. A bucket is computed from the sequence number, so a page needs no look-up to find its
 * Cassandra partition, and a hot channel never grows a giant one: 10,000 rows of 0.5 KB are 5 MB, well below the
 * 100 MB at which Cassandra partitions begin to hurt.
 */
export const BUCKET_SIZE = 10_000;

/**
 * After the store lost a channel its sequence goes on above the next multiple of this, because what was accepted and not
 * archived had some of the numbers below (`lua/include/born.lua`).
 */
export const SEQ_STRIDE = 2 ** 20;

/** Of a direct channel. */
export function partiesOf(channel: string): string[] {
  return [...new Set(channel.slice('dm:'.length).split(':'))];
}

export function bucketOf(seq: number): number {
  return Math.floor(seq / BUCKET_SIZE);
}

/** Write time in microseconds: the log id's milliseconds, and its counter below them. Below 2^53 until the year 2255. */
export function writtenAt(logId: string): number {
  const dash = logId.indexOf('-');
  const ms = Number(dash < 0 ? logId : logId.slice(0, dash));
  const n = dash < 0 ? 0 : Number(logId.slice(dash + 1));
  return ms * 1000 + Math.min(n, 999);
}

export interface MemberChange {
  channel: string;
  user: string;
  seq: number;
  action: MemberAction;
  role: string;
  at: number;
}

export interface ChannelChange {
  channel: string;
  title?: string;
  createdBy?: string;
  createdAt?: number;
  at: number;
}

/** An edit (`content`) or a deletion of a message. */
export interface MessageChange {
  channel: string;
  /** The change's own row. */
  seq: number;
  id: string;
  logId: string;
  target: { seq: number; id: string };
  deletes: boolean;
  content: string | undefined;
  ts: number;
  at: number;
}

/** What a batch of rows means for the tables beside `messages`. */
export interface Consequences {
  /** The highest row of each channel. */
  heads: Map<string, ArchiveRow>;
  channels: ChannelChange[];
  members: MemberChange[];
  /** Users of direct channels that begin in this batch: such a channel has no `created` event. */
  peers: { user: string; channel: string; seq: number; at: number }[];
  changes: MessageChange[];
  /** Keyed, so that a bucket appears once. */
  senderBuckets: Map<string, { sender: string; channel: string; bucket: number; at: number }>;
}

interface EventData {
  title?: unknown;
  members?: unknown;
  user?: unknown;
  action?: unknown;
  role?: unknown;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const LOG_ID = /^\d{1,15}-\d{1,19}$/;

/** Checks every row before anything is written, and derives what else to write. Throws `bad_row`. */
export function consequencesOf(rows: readonly ArchiveRow[]): Consequences {
  const result: Consequences = {
    heads: new Map(),
    channels: [],
    members: [],
    peers: [],
    changes: [],
    senderBuckets: new Map(),
  };
  for (const row of rows) {
    checkRow(row);
    const at = writtenAt(row.logId);
    const head = result.heads.get(row.channel);
    if (head === undefined || row.seq > head.seq) {
      result.heads.set(row.channel, row);
    }
    // An edit's text is its sender's as well: erasure and export look for both.
    if (row.type === 'message' || row.type === 'edited') {
      const bucket = bucketOf(row.seq);
      const key = `${row.from} ${row.channel} ${bucket}`;
      if (!result.senderBuckets.has(key)) {
        result.senderBuckets.set(key, { sender: row.from, channel: row.channel, bucket, at });
      }
    }
    if (row.type === 'edited' || row.type === 'deleted') {
      result.changes.push(changeOf(row, at));
    } else if (row.type !== 'message') {
      readEvent(row, at, result);
    }
    if (row.seq % SEQ_STRIDE === 1 && row.channel.startsWith('dm:')) {
      for (const user of partiesOf(row.channel)) {
        // After a loss it may be a beginning, or go on: a time before all others makes only what is not there yet.
        result.peers.push({ user, channel: row.channel, seq: row.seq, at: row.seq === 1 ? at : 1 });
      }
    }
  }
  return result;
}

function changeOf(row: ArchiveRow, at: number): MessageChange {
  const { channel, seq, id, logId, target, content, ts } = row;
  if (target === undefined || !isSeq(target.seq) || target.seq >= seq || !UUID.test(target.id)) {
    throw badRow(row, 'it names no message before itself');
  }
  return { channel, seq, id, logId, target, deletes: row.type === 'deleted', content, ts, at };
}

function readEvent(row: ArchiveRow, at: number, result: Consequences): void {
  const { channel, seq } = row;
  if (row.type === 'created') {
    const data = dataOf(row);
    const members = Array.isArray(data.members) ? data.members : [];
    result.channels.push({
      channel,
      ...(typeof data.title === 'string' ? { title: data.title } : {}),
      createdBy: row.from,
      createdAt: row.ts,
      at,
    });
    for (const user of new Set([row.from, ...members])) {
      if (typeof user !== 'string') {
        throw badRow(row, 'its members are not all strings');
      }
      result.members.push({ channel, user, seq, action: 'created', role: user === row.from ? 'owner' : 'member', at });
    }
  } else if (row.type === 'renamed') {
    const { title } = dataOf(row);
    if (typeof title !== 'string') {
      throw badRow(row, 'its title is not a string');
    }
    result.channels.push({ channel, title, at });
  } else if (row.type === 'member') {
    const { user, action, role } = dataOf(row);
    if (typeof user !== 'string' || typeof role !== 'string') {
      throw badRow(row, 'its user or role is not a string');
    }
    if (action !== 'added' && action !== 'removed' && action !== 'role') {
      throw badRow(row, `its action ${JSON.stringify(action)} is not known`);
    }
    result.members.push({ channel, user, seq, action, role, at });
  }
}

function dataOf(row: ArchiveRow): EventData {
  let data: unknown;
  try {
    data = JSON.parse(row.data ?? '');
  } catch (cause) {
    throw badRow(row, 'its data is not JSON', cause);
  }
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    throw badRow(row, 'its data is not a JSON object');
  }
  return data;
}

function checkRow(row: ArchiveRow): void {
  if (row.channel === '') {
    throw badRow(row, 'its channel is empty');
  }
  if (!isSeq(row.seq)) {
    throw badRow(row, 'its seq is not a positive integer');
  }
  if (!UUID.test(row.id)) {
    throw badRow(row, 'its id is not a version 1 UUID');
  }
  if (!LOG_ID.test(row.logId) || !Number.isSafeInteger(writtenAt(row.logId))) {
    throw badRow(row, 'its log id is not <ms>-<n>');
  }
  if (!Number.isSafeInteger(row.ts)) {
    throw badRow(row, 'its ts is not an integer');
  }
}

function isSeq(seq: number): boolean {
  return Number.isSafeInteger(seq) && seq >= 1;
}

function badRow(row: ArchiveRow, why: string, cause?: unknown): ArchiveError {
  const name = `${row.channel} seq ${row.seq} (log id ${row.logId}, type ${row.type})`;
  return new ArchiveError('bad_row', `The entry ${name} cannot be archived: ${why}.`, {
    row,
    ...(cause === undefined ? {} : { cause }),
  });
}
