import type { DatabaseSync } from 'node:sqlite';

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
  {
    name: '003_accounts',
    // What is over stays as a row, without a token, so that nobody who writes late brings it back.
    sql: `
      CREATE TABLE devices_by_user (
        user_id TEXT NOT NULL, device_id TEXT NOT NULL, platform TEXT, push_token TEXT, written_at INTEGER NOT NULL,
        PRIMARY KEY (user_id, device_id)
      ) WITHOUT ROWID;
      CREATE TABLE blocks_by_user (
        user_id TEXT NOT NULL, blocked_id TEXT NOT NULL, holds INTEGER NOT NULL, written_at INTEGER NOT NULL,
        PRIMARY KEY (user_id, blocked_id)
      ) WITHOUT ROWID;
      CREATE INDEX blocks_by_blocked ON blocks_by_user (blocked_id) WHERE holds = 1;
      CREATE TABLE receipts_by_channel (
        channel_id TEXT NOT NULL, user_id TEXT NOT NULL, delivered INTEGER, read INTEGER, written_at INTEGER NOT NULL,
        PRIMARY KEY (channel_id, user_id)
      ) WITHOUT ROWID;
    `,
  },
  {
    name: '004_losses',
    sql: `
      CREATE TABLE losses_by_partition (
        partition_id INTEGER NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (partition_id, number)
      ) WITHOUT ROWID;
    `,
  },
];

export function transaction(db: DatabaseSync, action: () => void): void {
  // IMMEDIATE: a transaction that began as a reader and then finds another writer cannot wait, it fails.
  db.exec('BEGIN IMMEDIATE');
  try {
    action();
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) {
      db.exec('ROLLBACK');
    }
    throw error;
  }
}

/** The names of those that this call applied. */
export function migrate(db: DatabaseSync): string[] {
  const names: string[] = [];
  if (MIGRATIONS.every(({ name }) => applied(db).includes(name))) {
    return names;
  }
  transaction(db, () => {
    db.exec('CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY, applied_at INTEGER NOT NULL)');
    // Read inside the transaction: another process may have been first.
    const done = new Set(applied(db));
    for (const { name, sql } of MIGRATIONS) {
      if (!done.has(name)) {
        db.exec(sql);
        db.prepare('INSERT INTO schema_migrations (name, applied_at) VALUES (?, ?)').run(name, Date.now());
        names.push(name);
      }
    }
  });
  return names;
}

export function applied(db: DatabaseSync): string[] {
  const table = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'").get();
  if (table === undefined) {
    return [];
  }
  const rows = db.prepare('SELECT name FROM schema_migrations ORDER BY name').all() as unknown as { name: string }[];
  return rows.map(({ name }) => name);
}
