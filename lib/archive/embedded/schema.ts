/** The embedded archive's migrations, in order. Never edit one that was released: add another. */
export interface Migration {
  name: string;
  sql: string;
}

export const MIGRATIONS: readonly Migration[] = [
  {
    name: '001_history',
    // messages: the primary key is the page's order, and WITHOUT ROWID stores the rows in it, so a page is one range of
    // one B-tree and buckets are not needed. message_id is in the key as it is in Cassandra: should a store's failover
    // ever give one sequence number out twice, both messages stay.
    sql: `
      CREATE TABLE messages (
        channel_id TEXT NOT NULL, seq INTEGER NOT NULL, message_id TEXT NOT NULL,
        log_id TEXT NOT NULL, type TEXT NOT NULL, sender_id TEXT NOT NULL, client_id TEXT NOT NULL,
        content TEXT, metadata TEXT, data TEXT, created_at INTEGER NOT NULL, written_at INTEGER NOT NULL,
        PRIMARY KEY (channel_id, seq, message_id)
      ) WITHOUT ROWID;
      CREATE TABLE channels (
        channel_id TEXT PRIMARY KEY, last_seq INTEGER NOT NULL DEFAULT 0, last_seq_at INTEGER NOT NULL DEFAULT 0,
        title TEXT, title_at INTEGER NOT NULL DEFAULT 0, created_by TEXT, created_at INTEGER
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
];
