/** The embedded archive's migrations, in order. Never edit one that was released: add another. */
export interface Migration {
  name: string;
  sql: string;
}

export const MIGRATIONS: readonly Migration[] = [
  {
    name: '001_history',
    // messages: rows lie in the order in which they were written, and only the small index is written all over the file:
    // half the cost of a table that is ordered by channel. message_id is in the key as it is in Cassandra: should a
    // store's failover ever give one sequence number out twice, both messages stay. A channel's last_seq is not kept,
    // it is the index's last entry.
    sql: `
      CREATE TABLE messages (
        channel_id TEXT NOT NULL, seq INTEGER NOT NULL, message_id TEXT NOT NULL,
        log_id TEXT NOT NULL, type TEXT NOT NULL, sender_id TEXT NOT NULL, client_id TEXT NOT NULL,
        content TEXT, metadata TEXT, data TEXT, created_at INTEGER NOT NULL, written_at INTEGER NOT NULL
      );
      CREATE UNIQUE INDEX messages_by_seq ON messages (channel_id, seq, message_id);
      CREATE TABLE channels (
        channel_id TEXT PRIMARY KEY, title TEXT, title_at INTEGER NOT NULL DEFAULT 0, created_by TEXT, created_at INTEGER
      ) WITHOUT ROWID;
      CREATE TABLE members_by_channel (
        channel_id TEXT NOT NULL, user_id TEXT NOT NULL, seq INTEGER NOT NULL,
        action TEXT NOT NULL, role TEXT NOT NULL, written_at INTEGER NOT NULL,
        PRIMARY KEY (channel_id, user_id, seq)
      ) WITHOUT ROWID;
      CREATE TABLE channels_by_user (
        user_id TEXT NOT NULL, channel_id TEXT NOT NULL, seq INTEGER NOT NULL, active INTEGER NOT NULL,
        written_at INTEGER NOT NULL,
        PRIMARY KEY (user_id, channel_id)
      ) WITHOUT ROWID;
      CREATE TABLE buckets_by_sender (
        sender_id TEXT NOT NULL, channel_id TEXT NOT NULL, bucket INTEGER NOT NULL,
        PRIMARY KEY (sender_id, channel_id, bucket)
      ) WITHOUT ROWID;
    `,
  },
  {
    name: '002_changes',
    // target_seq and target_id: of an edit or a deletion, the message that it changes. edited_seq, edited_at and deleted:
    // of a message, the latest of its changes.
    sql: `
      ALTER TABLE messages ADD COLUMN target_seq INTEGER;
      ALTER TABLE messages ADD COLUMN target_id TEXT;
      ALTER TABLE messages ADD COLUMN edited_seq INTEGER;
      ALTER TABLE messages ADD COLUMN edited_at INTEGER;
      ALTER TABLE messages ADD COLUMN deleted INTEGER;
      CREATE INDEX messages_by_target ON messages (channel_id, target_seq) WHERE target_seq IS NOT NULL;
    `,
  },
];
