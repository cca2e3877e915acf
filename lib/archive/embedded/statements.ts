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
}

export interface Statements {
  putMessage: StatementSync;
  putTitle: StatementSync;
  putCreated: StatementSync;
  putMember: StatementSync;
  putChannelOfUser: StatementSync;
  putSenderBucket: StatementSync;
  pageNewest: StatementSync;
  pageOldest: StatementSync;
  lastSeq: StatementSync;
  channelsOf: StatementSync;
}

const COLUMNS =
  'channel_id, seq, message_id, log_id, type, sender_id, client_id, content, metadata, data, created_at' as const;

/** Every put compares write times as Cassandra does: the newer wins, and of two equal ones the later call. */
export function prepare(db: DatabaseSync): Statements {
  const page = (direction: 'ASC' | 'DESC') =>
    db.prepare(
      `SELECT ${COLUMNS} FROM messages WHERE channel_id = ? AND seq > ? AND seq < ?
       ORDER BY seq ${direction}, message_id ${direction} LIMIT ?`,
    );
  return {
    putMessage: db.prepare(
      `INSERT INTO messages (${COLUMNS}, written_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET log_id = excluded.log_id, type = excluded.type, sender_id = excluded.sender_id,
         client_id = excluded.client_id, content = excluded.content, metadata = excluded.metadata,
         data = excluded.data, created_at = excluded.created_at, written_at = excluded.written_at
       WHERE excluded.written_at >= messages.written_at`,
    ),
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
    channelsOf: db.prepare(
      'SELECT channel_id FROM channels_by_user WHERE user_id = ? AND active = 1 ORDER BY channel_id',
    ),
  };
}
