import type { Client } from 'cassandra-driver';
import type { CassandraAddress } from './url.ts';

/**
 * The schema in Cassandra. Tables and columns are those of `../archive.ts`.
 *
 * Compaction. History only grows, is seldom edited, and its cells carry the log's time, not the clock's: a replay, a
 * late edit or an erasure writes an old time today. TimeWindow compaction sorts SSTables into windows by just those
 * times, so such writes would keep old windows open and mixed for ever, and nothing here expires, which is all that it
 * is good at. So `messages` has the unified strategy, tiered (T4): each row is rewritten a few times in its life, not
 * at every level, and its density-bounded shards mean that no compaction needs half of the disk free, which is what
 * size-tiered compaction asks of ever-growing data. A page reads one bucket, of bounded age, so few SSTables hold it.
 * The small tables are overwritten all the time and read by key: levelled (L10), so that a read meets one version.
 * Servers without the unified strategy (Cassandra 4, ScyllaDB) get size-tiered and levelled.
 */
export interface Migration {
  name: string;
  statements: (keyspace: string, compaction: Compaction) => string[];
}

export interface Compaction {
  growing: string;
  overwritten: string;
}

export const MIGRATIONS: readonly Migration[] = [
  {
    name: '001_history',
    statements: (ks, { growing, overwritten }) => [
      // message_id is in the key: should a store's failover ever give one sequence number out twice, both stay.
      `CREATE TABLE IF NOT EXISTS ${ks}.messages (
         channel_id text, bucket int, seq bigint, message_id timeuuid,
         log_id text, type text, sender_id text, client_id text,
         content text, metadata text, data text, created_at timestamp,
         PRIMARY KEY ((channel_id, bucket), seq, message_id)
       ) WITH CLUSTERING ORDER BY (seq DESC, message_id DESC) AND compaction = ${growing}
         AND comment = 'one sequence number of a channel; bucket = floor(seq / 10000)'`,
      `CREATE TABLE IF NOT EXISTS ${ks}.channels (
         channel_id text PRIMARY KEY, last_seq bigint, title text, created_by text, created_at timestamp
       ) WITH compaction = ${overwritten}`,
      `CREATE TABLE IF NOT EXISTS ${ks}.members_by_channel (
         channel_id text, user_id text, seq bigint, action text, role text,
         PRIMARY KEY (channel_id, user_id, seq)
       ) WITH compaction = ${overwritten} AND comment = 'one change of one member; intervals are read off it'`,
      `CREATE TABLE IF NOT EXISTS ${ks}.channels_by_user (
         user_id text, channel_id text, seq bigint, active boolean,
         PRIMARY KEY (user_id, channel_id)
       ) WITH compaction = ${overwritten}`,
      `CREATE TABLE IF NOT EXISTS ${ks}.buckets_by_sender (
         sender_id text, channel_id text, bucket int,
         PRIMARY KEY (sender_id, channel_id, bucket)
       ) WITH compaction = ${overwritten} AND comment = 'where a sender wrote: for erasure and export'`,
    ],
  },
  {
    name: '002_changes',
    statements: (ks, { overwritten }) => [
      // Of an edit or a deletion, the message that it changes; of a message, the latest of its changes.
      `ALTER TABLE ${ks}.messages ADD target_seq bigint`,
      `ALTER TABLE ${ks}.messages ADD target_id timeuuid`,
      `ALTER TABLE ${ks}.messages ADD edited_seq bigint`,
      `ALTER TABLE ${ks}.messages ADD edited_at timestamp`,
      `ALTER TABLE ${ks}.messages ADD deleted boolean`,
      `CREATE TABLE IF NOT EXISTS ${ks}.edits_by_message (
         channel_id text, bucket int, target_seq bigint, target_id timeuuid, seq bigint, message_id timeuuid, log_id text,
         PRIMARY KEY ((channel_id, bucket), target_seq, target_id, seq, message_id)
       ) WITH compaction = ${overwritten} AND comment = 'where a deletion finds the texts of the edits; bucket of target'`,
    ],
  },
  {
    name: '003_accounts',
    statements: (ks, { overwritten }) => [
      `CREATE TABLE IF NOT EXISTS ${ks}.devices_by_user (
         user_id text, device_id text, platform text, push_token text,
         PRIMARY KEY (user_id, device_id)
       ) WITH compaction = ${overwritten} AND comment = 'push tokens: secrets'`,
      `CREATE TABLE IF NOT EXISTS ${ks}.blocks_by_user (
         user_id text, blocked_id text,
         PRIMARY KEY (user_id, blocked_id)
       ) WITH compaction = ${overwritten}`,
      `CREATE TABLE IF NOT EXISTS ${ks}.blockers_by_user (
         user_id text, blocker_id text,
         PRIMARY KEY (user_id, blocker_id)
       ) WITH compaction = ${overwritten} AND comment = 'blocks_by_user, from the other side'`,
      `CREATE TABLE IF NOT EXISTS ${ks}.receipts_by_channel (
         channel_id text, user_id text, delivered bigint, read bigint,
         PRIMARY KEY (channel_id, user_id)
       ) WITH compaction = ${overwritten}`,
    ],
  },
  {
    name: '004_losses',
    statements: (ks, { overwritten }) => [
      // A row for each, so that whoever writes late lowers nothing.
      `CREATE TABLE IF NOT EXISTS ${ks}.losses_by_partition (
         partition_id int, number int,
         PRIMARY KEY (partition_id, number)
       ) WITH CLUSTERING ORDER BY (number DESC) AND compaction = ${overwritten}`,
    ],
  },
];

/** Applies what is missing, in order; one at a time per keyspace (every statement can be repeated after a failure). */
export async function applySchema(client: Client, address: CassandraAddress): Promise<string[]> {
  const { keyspace, dc } = address;
  const local = await client.execute('SELECT release_version FROM system.local');
  const version = String(local.first().get('release_version'));
  const nodes = [...client.hosts.values()].filter((host) => host.datacenter === dc).length;
  const replicas = address.replication ?? Math.min(3, Math.max(1, nodes));
  await client.execute(
    `CREATE KEYSPACE IF NOT EXISTS ${keyspace}
     WITH replication = {'class': 'NetworkTopologyStrategy', '${dc.replaceAll("'", "''")}': ${replicas}}`,
  );
  await client.execute(
    `CREATE TABLE IF NOT EXISTS ${keyspace}.schema_migrations (name text PRIMARY KEY, applied_at timestamp)`,
  );
  const done = new Set(await appliedMigrations(client, keyspace));
  const names: string[] = [];
  for (const { name, statements } of MIGRATIONS) {
    if (done.has(name)) {
      continue;
    }
    for (const statement of statements(keyspace, compactionFor(version))) {
      await executeOnce(client, statement);
    }
    await client.execute(
      `INSERT INTO ${keyspace}.schema_migrations (name, applied_at) VALUES (?, ?)`,
      [name, new Date()],
      {
        prepare: true,
      },
    );
    names.push(name);
  }
  return names;
}

/** `ADD IF NOT EXISTS` is newer than some servers: a column that an attempt before had added is no failure. */
async function executeOnce(client: Client, statement: string): Promise<void> {
  try {
    await client.execute(statement);
  } catch (error) {
    const exists = error instanceof Error && /already exists|conflicts with an existing column/i.test(error.message);
    if (!exists || !statement.startsWith('ALTER TABLE')) throw error;
  }
}

export async function appliedMigrations(client: Client, keyspace: string): Promise<string[]> {
  const result = await client.execute(`SELECT name FROM ${keyspace}.schema_migrations`);
  return result.rows.map((row) => String(row.get('name'))).sort();
}

function compactionFor(version: string): Compaction {
  if (Number.parseInt(version, 10) >= 5) {
    return {
      growing: "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}",
      overwritten: "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L10'}",
    };
  }
  return {
    growing: "{'class': 'SizeTieredCompactionStrategy'}",
    overwritten: "{'class': 'LeveledCompactionStrategy'}",
  };
}
