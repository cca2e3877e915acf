import type { types } from 'cassandra-driver';
import type { ArchiveRow } from '../archive.ts';
import { bucketOf, type Consequences, type MessageChange, writtenAt } from '../rows.ts';

/** One statement with its values. `undefined` leaves a column unset, which makes no tombstone. */
export interface Write {
  query: string;
  params: unknown[];
}

/** Writes to one partition, small enough for one request. */
export type Batch = Write[];

/** A batch in one partition is one mutation to one set of replicas, with no batch log: what makes 24k rows/s of 6k. */
const BATCH_ROWS = 25;
/** Far below Cassandra's largest mutation (16 MiB), and small enough that a replica's answer stays quick. */
const BATCH_BYTES = 128 * 1024;

export interface Queries {
  putMessage: string;
  putEdited: string;
  putDeleted: string;
  putEditOf: string;
  emptyChange: string;
  deletionOf: string;
  editsOf: string;
  putLastSeq: string;
  putTitle: string;
  putCreated: string;
  putMember: string;
  putChannelOfUser: string;
  putSenderBucket: string;
  pageNewest: string;
  pageOldest: string;
  lastSeq: string;
  any: string;
  channel: string;
  membersOf: string;
  isIn: string;
  channelsOf: string;
  sentIn: string;
  sendersIn: string;
  leaveChannel: string;
  forgetMembership: string;
}

export function queriesFor(ks: string): Queries {
  const columns =
    'seq, message_id, log_id, type, sender_id, client_id, content, metadata, data, created_at, target_seq, target_id';
  const row = 'channel_id = ? AND bucket = ? AND seq = ? AND message_id = ?';
  const page = (order: string) =>
    `SELECT ${columns}, edited_seq, edited_at, deleted FROM ${ks}.messages WHERE channel_id = ? AND bucket = ? AND seq > ? AND seq < ?
     ORDER BY seq ${order} LIMIT ?`;
  return {
    putMessage: `INSERT INTO ${ks}.messages (channel_id, bucket, ${columns})
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`,
    putEdited: `UPDATE ${ks}.messages USING TIMESTAMP ? SET content = ?, edited_seq = ?, edited_at = ? WHERE ${row}`,
    putDeleted: `UPDATE ${ks}.messages USING TIMESTAMP ? SET content = null, metadata = null, deleted = true WHERE ${row}`,
    putEditOf: `INSERT INTO ${ks}.edits_by_message
      (channel_id, bucket, target_seq, target_id, seq, message_id, log_id) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`,
    emptyChange: `UPDATE ${ks}.messages USING TIMESTAMP ? SET content = null WHERE ${row}`,
    deletionOf: `SELECT deleted FROM ${ks}.messages WHERE ${row}`,
    editsOf: `SELECT seq, message_id, log_id FROM ${ks}.edits_by_message
      WHERE channel_id = ? AND bucket = ? AND target_seq = ? AND target_id = ?`,
    putLastSeq: `UPDATE ${ks}.channels USING TIMESTAMP ? SET last_seq = ? WHERE channel_id = ?`,
    putTitle: `UPDATE ${ks}.channels USING TIMESTAMP ? SET title = ? WHERE channel_id = ?`,
    putCreated: `UPDATE ${ks}.channels USING TIMESTAMP ? SET created_by = ?, created_at = ? WHERE channel_id = ?`,
    putMember: `INSERT INTO ${ks}.members_by_channel (channel_id, user_id, seq, action, role)
      VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?`,
    putChannelOfUser: `INSERT INTO ${ks}.channels_by_user (user_id, channel_id, seq, active)
      VALUES (?, ?, ?, ?) USING TIMESTAMP ?`,
    putSenderBucket: `INSERT INTO ${ks}.buckets_by_sender (sender_id, channel_id, bucket)
      VALUES (?, ?, ?) USING TIMESTAMP ?`,
    pageNewest: page('DESC'),
    pageOldest: page('ASC'),
    lastSeq: `SELECT last_seq FROM ${ks}.channels WHERE channel_id = ?`,
    any: `SELECT channel_id FROM ${ks}.channels LIMIT 1`,
    channel: `SELECT last_seq, title, created_by, created_at FROM ${ks}.channels WHERE channel_id = ?`,
    membersOf: `SELECT user_id, seq, action, role FROM ${ks}.members_by_channel WHERE channel_id = ?`,
    isIn: `SELECT active FROM ${ks}.channels_by_user WHERE user_id = ? AND channel_id = ?`,
    sentIn: `SELECT channel_id, bucket FROM ${ks}.buckets_by_sender WHERE sender_id = ?`,
    sendersIn: `SELECT seq, message_id, log_id, type, sender_id FROM ${ks}.messages WHERE channel_id = ? AND bucket = ?`,
    leaveChannel: `UPDATE ${ks}.channels_by_user USING TIMESTAMP ? SET active = false WHERE user_id = ? AND channel_id = ?`,
    forgetMembership: `DELETE FROM ${ks}.members_by_channel USING TIMESTAMP ? WHERE channel_id = ? AND user_id = ?`,
    channelsOf: `SELECT channel_id, active FROM ${ks}.channels_by_user WHERE user_id = ?`,
  };
}

/** Small writes to one partition, in batches. */
export function batchesOf(writes: Batch): Batch[] {
  return Array.from({ length: Math.ceil(writes.length / BATCH_ROWS) }, (_, i) =>
    writes.slice(i * BATCH_ROWS, (i + 1) * BATCH_ROWS),
  );
}

/** The rows as batches, each within one bucket of one channel. */
export function messageBatches(queries: Queries, rows: readonly ArchiveRow[]): Batch[] {
  const batches: Batch[] = [];
  const open = new Map<string, { batch: Batch; bytes: number }>();
  for (const row of rows) {
    const bucket = bucketOf(row.seq);
    const key = `${row.channel} ${bucket}`;
    // UTF-16 units times three bounds the UTF-8 bytes without encoding twice.
    const bytes = 200 + 3 * ((row.content?.length ?? 0) + (row.metadata?.length ?? 0) + (row.data?.length ?? 0));
    let current = open.get(key);
    if (current === undefined || current.batch.length >= BATCH_ROWS || current.bytes + bytes > BATCH_BYTES) {
      current = { batch: [], bytes: 0 };
      open.set(key, current);
      batches.push(current.batch);
    }
    current.bytes += bytes;
    current.batch.push({
      query: queries.putMessage,
      params: [
        row.channel,
        bucket,
        row.seq,
        row.id,
        row.logId,
        row.type,
        row.from,
        row.clientId,
        row.content,
        row.metadata,
        row.data,
        new Date(row.ts),
        row.target?.seq,
        row.target?.id,
        writtenAt(row.logId),
      ],
    });
  }
  return batches;
}

/** The changes as they are applied to their messages: cells with the log's time, so that the latest wins in any order. */
export function changeBatches(queries: Queries, changes: readonly MessageChange[]): Batch[] {
  return changes.flatMap(({ channel, seq, id, logId, target, deletes, content, ts, at }): Batch[] => {
    const row = [channel, bucketOf(target.seq), target.seq, target.id];
    if (deletes) return [[{ query: queries.putDeleted, params: [at, ...row] }]];
    return [
      [{ query: queries.putEdited, params: [at, content, seq, new Date(ts), ...row] }],
      [{ query: queries.putEditOf, params: [...row, seq, id, logId, at] }],
    ];
  });
}

/** What follows from the rows, in the other tables; again each batch within one partition. */
export function indexBatches(queries: Queries, consequences: Consequences): Batch[] {
  const batches: Batch[] = [];
  for (const [channel, head] of consequences.heads) {
    batches.push([{ query: queries.putLastSeq, params: [writtenAt(head.logId), head.seq, channel] }]);
  }
  for (const { channel, title, createdBy, createdAt, at } of consequences.channels) {
    if (title !== undefined) {
      batches.push([{ query: queries.putTitle, params: [at, title, channel] }]);
    }
    if (createdBy !== undefined) {
      batches.push([{ query: queries.putCreated, params: [at, createdBy, new Date(createdAt ?? 0), channel] }]);
    }
  }
  const byChannel = Map.groupBy(consequences.members, ({ channel }) => channel);
  for (const [channel, members] of byChannel) {
    for (let i = 0; i < members.length; i += BATCH_ROWS) {
      batches.push(
        members.slice(i, i + BATCH_ROWS).map(({ user, seq, action, role, at }) => ({
          query: queries.putMember,
          params: [channel, user, seq, action, role, at],
        })),
      );
    }
  }
  for (const { user, channel, seq, action, at } of consequences.members) {
    batches.push([{ query: queries.putChannelOfUser, params: [user, channel, seq, action !== 'removed', at] }]);
  }
  for (const { user, channel, seq, at } of consequences.peers) {
    batches.push([{ query: queries.putChannelOfUser, params: [user, channel, seq, true, at] }]);
  }
  return batches;
}

export function fromRow(channel: string, row: types.Row): ArchiveRow {
  const optional = (name: string, key: 'content' | 'metadata' | 'data') => {
    const value: unknown = row.get(name);
    return typeof value === 'string' ? { [key]: value } : {};
  };
  const changes = changesIn(row);
  return {
    channel,
    seq: Number(row.get('seq')),
    id: String(row.get('message_id')),
    logId: String(row.get('log_id')),
    type: String(row.get('type')),
    from: String(row.get('sender_id')),
    clientId: String(row.get('client_id')),
    ts: (row.get('created_at') as Date).getTime(),
    ...(changes.deleted ? {} : { ...optional('content', 'content'), ...optional('metadata', 'metadata') }),
    ...optional('data', 'data'),
    ...changes,
  };
}

function changesIn(row: types.Row): Pick<ArchiveRow, 'target' | 'edited' | 'deleted'> {
  if (row.get('target_seq') !== null) {
    return { target: { seq: Number(row.get('target_seq')), id: String(row.get('target_id')) } };
  }
  if (row.get('deleted') === true) return { deleted: true };
  if (row.get('edited_seq') === null) return {};
  return { edited: { seq: Number(row.get('edited_seq')), at: (row.get('edited_at') as Date).getTime() } };
}
