import type { DatabaseSync, StatementSync } from 'node:sqlite';

export interface StoredRow {
  channel_id: string;
  seq: number;
  message_id: string;
  log_id: string;
  type: string;
  sender_id: string;
  client_id: string;
  content: string | null;
  metadata: string | null;
  data: string | null;
  created_at: number;
  target_seq: number | null;
  target_id: string | null;
  edited_seq: number | null;
  edited_at: number | null;
  deleted: number | null;
}

/** An `edited` or `deleted` row, as its target is settled from it. */
export interface StoredChange {
  rowid: number;
  type: string;
  seq: number;
  target_id: string;
  content: string | null;
  created_at: number;
}

export interface Statements {
  putMessage: StatementSync;
  changedBetween: StatementSync;
  changesOf: StatementSync;
  setEdited: StatementSync;
  setDeleted: StatementSync;
  emptyChange: StatementSync;
  putTitle: StatementSync;
  putCreated: StatementSync;
  putMember: StatementSync;
  putChannelOfUser: StatementSync;
  putSenderBucket: StatementSync;
  pageNewest: StatementSync;
  pageOldest: StatementSync;
  lastSeq: StatementSync;
  any: StatementSync;
  channel: StatementSync;
  membersOf: StatementSync;
  isIn: StatementSync;
  channelsOf: StatementSync;
  sentIn: StatementSync;
  eraseMessages: StatementSync;
  eraseEdits: StatementSync;
  forgetChannels: StatementSync;
  forgetMemberships: StatementSync;
}

const COLUMNS =
  'channel_id, seq, message_id, log_id, type, sender_id, client_id, content, metadata, data, created_at, target_seq, target_id' as const;

/** Every put compares write times as Cassandra does: the newer wins, and of two equal ones the later call. */
export function prepare(db: DatabaseSync): Statements {
  const page = (direction: 'ASC' | 'DESC') =>
    db.prepare(
      `SELECT ${COLUMNS}, edited_seq, edited_at, deleted FROM messages WHERE channel_id = ? AND seq > ? AND seq < ?
       ORDER BY seq ${direction}, message_id ${direction} LIMIT ?`,
    );
  return {
    putMessage: db.prepare(
      `INSERT INTO messages (${COLUMNS}, written_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET log_id = excluded.log_id, type = excluded.type, sender_id = excluded.sender_id,
         client_id = excluded.client_id, content = excluded.content, metadata = excluded.metadata,
         data = excluded.data, created_at = excluded.created_at, written_at = excluded.written_at,
         target_seq = excluded.target_seq, target_id = excluded.target_id
       WHERE excluded.written_at >= messages.written_at`,
    ),
    changedBetween: db.prepare(
      'SELECT DISTINCT target_seq FROM messages WHERE channel_id = ? AND target_seq BETWEEN ? AND ?',
    ),
    changesOf: db.prepare(
      `SELECT rowid, type, seq, target_id, content, created_at FROM messages
       WHERE channel_id = ? AND target_seq = ? ORDER BY written_at, seq`,
    ),
    setEdited: db.prepare(
      `UPDATE messages SET content = ?, edited_seq = ?, edited_at = ?
       WHERE channel_id = ? AND seq = ? AND message_id = ? AND type = 'message' AND deleted IS NULL`,
    ),
    setDeleted: db.prepare(
      `UPDATE messages SET content = NULL, metadata = NULL, edited_seq = NULL, edited_at = NULL, deleted = 1
       WHERE channel_id = ? AND seq = ? AND message_id = ? AND type = 'message'`,
    ),
    emptyChange: db.prepare('UPDATE messages SET content = NULL WHERE rowid = ?'),
    putTitle: db.prepare(
      `INSERT INTO channels (channel_id, title, title_at) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET title = excluded.title, title_at = excluded.title_at
       WHERE excluded.title_at >= channels.title_at`,
    ),
    // A channel is created once: whoever comes first, and every replay, says the same.
    putCreated: db.prepare(
      `INSERT INTO channels (channel_id, created_by, created_at) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET created_by = excluded.created_by, created_at = excluded.created_at`,
    ),
    putMember: db.prepare(
      `INSERT INTO members_by_channel (channel_id, user_id, seq, action, role, written_at) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET action = excluded.action, role = excluded.role, written_at = excluded.written_at
       WHERE excluded.written_at >= members_by_channel.written_at`,
    ),
    putChannelOfUser: db.prepare(
      `INSERT INTO channels_by_user (user_id, channel_id, seq, active, written_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET seq = excluded.seq, active = excluded.active, written_at = excluded.written_at
       WHERE excluded.written_at >= channels_by_user.written_at`,
    ),
    putSenderBucket: db.prepare(
      'INSERT INTO buckets_by_sender (sender_id, channel_id, bucket) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
    ),
    pageNewest: page('DESC'),
    pageOldest: page('ASC'),
    lastSeq: db.prepare('SELECT seq AS last_seq FROM messages WHERE channel_id = ? ORDER BY seq DESC LIMIT 1'),
    any: db.prepare('SELECT 1 FROM messages LIMIT 1'),
    channel: db.prepare('SELECT title, created_by, created_at FROM channels WHERE channel_id = ?'),
    membersOf: db.prepare(
      `SELECT user_id, seq, action, role FROM members_by_channel
       WHERE channel_id = ? AND action <> 'erased' ORDER BY seq, user_id`,
    ),
    isIn: db.prepare('SELECT active FROM channels_by_user WHERE user_id = ? AND channel_id = ?'),
    channelsOf: db.prepare(
      'SELECT channel_id FROM channels_by_user WHERE user_id = ? AND active = 1 ORDER BY channel_id',
    ),
    sentIn: db.prepare('SELECT channel_id, bucket FROM buckets_by_sender WHERE sender_id = ?'),
    eraseMessages: db.prepare(
      `UPDATE messages SET content = NULL, metadata = NULL, edited_seq = NULL, edited_at = NULL, deleted = 1, written_at = ?
       WHERE channel_id = ? AND seq >= ? AND seq < ? AND sender_id = ? AND type = 'message' AND written_at <= ?`,
    ),
    eraseEdits: db.prepare(
      `UPDATE messages SET content = NULL, written_at = ?
       WHERE channel_id = ? AND seq >= ? AND seq < ? AND sender_id = ? AND type = 'edited' AND written_at <= ?`,
    ),
    // The rows stay, with a time that no replay passes.
    forgetMemberships: db.prepare(
      `UPDATE members_by_channel SET action = 'erased', written_at = ? WHERE user_id = ? AND written_at <= ?
       AND channel_id IN (SELECT channel_id FROM channels_by_user WHERE user_id = ?)`,
    ),
    forgetChannels: db.prepare(
      'UPDATE channels_by_user SET active = 0, written_at = ? WHERE user_id = ? AND active = 1 AND written_at <= ?',
    ),
  };
}
