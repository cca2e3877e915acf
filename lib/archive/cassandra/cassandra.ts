import type { Client, types } from 'cassandra-driver';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import {
  type Archive,
  type ArchivedAccount,
  type ArchivedChannel,
  ArchiveError,
  type ArchiveRow,
  type Fact,
  type MemberAction,
  type PageQuery,
  type SenderBucket,
} from '../archive.ts';
import { BUCKET_SIZE, bucketOf, consequencesOf, type MessageChange, partiesOf, writtenAt } from '../rows.ts';
import { createClient } from './driver.ts';
import { archiveError } from './errors.ts';
import { Facts } from './facts.ts';
import { appliedMigrations, applySchema, MIGRATIONS } from './schema.ts';
import {
  type Batch,
  batchesOf,
  changeBatches,
  fromRow,
  indexBatches,
  messageBatches,
  type Queries,
  queriesFor,
} from './statements.ts';
import { type CassandraAddress, parseCassandraUrl } from './url.ts';

/**
 * The archive in Cassandra (or another store that speaks CQL). See `driver.ts` for consistency, retries and routing,
 * `schema.ts` for the tables.
 *
 * Nothing is connected until it is needed, and after Cassandra was away the driver finds it again: opening never
 * fails, calls do, with `unavailable`, and may be repeated.
 *
 * A write sends `messages` first and only then what points at them (`last_seq`, indexes): a reader that follows
 * `last_seq` finds the rows; a crash in between is repaired by the archiver, whose position has not moved.
 */
const WRITES_IN_FLIGHT = 128;
/** Buckets that one page asks for at once when it crosses a hole; grows from 1. */
const BUCKETS_AT_ONCE = 16;
/** A bound this far away is probably "no bound": then the channel's head is worth a read. */
const FAR_BUCKETS = 4;
const KNOWN_BUCKETS = 50_000;

export class CassandraArchive implements Archive {
  readonly kind = 'cassandra';
  readonly #address: CassandraAddress;
  readonly #logger: Logger;
  readonly #client: Client;
  readonly #queries: Queries;
  readonly #facts: Facts;
  /**
   * Sender buckets that this process has already written: one write per bucket instead of one per message. Rows of
   * `buckets_by_sender` only say where to look and are never deleted, so a cached one stays true.
   */
  readonly #knownBuckets = new LRUCache<string, true>({ max: KNOWN_BUCKETS });
  #closed = false;

  constructor(url: string, options: { logger: Logger }) {
    this.#address = parseCassandraUrl(url);
    this.#logger = options.logger;
    this.#queries = queriesFor(this.#address.keyspace);
    this.#client = createClient(this.#address);
    this.#facts = new Facts(this.#address.keyspace, (query, params) => this.#readAll(query, params));
    this.#client.on('hostUp', (host: { address: string }) => this.#logger.info({ host: host.address }, 'archive up'));
    this.#client.on('hostDown', (host: { address: string }) =>
      this.#logger.warn({ host: host.address }, 'archive down'),
    );
  }

  async ready(): Promise<void> {
    await this.#run('read the schema', async () => {
      await this.#client.connect();
      const done = new Set(await appliedMigrations(this.#client, this.#address.keyspace));
      const missing = MIGRATIONS.filter(({ name }) => !done.has(name));
      if (missing.length > 0) {
        throw new ArchiveError(
          'schema',
          `The keyspace ${this.#address.keyspace} lacks ${missing.map(({ name }) => name).join(', ')}: run \`millrace schema\`.`,
        );
      }
    });
  }

  async applySchema(): Promise<string[]> {
    const names = await this.#run('apply the schema', async () => {
      await this.#client.connect();
      return applySchema(this.#client, this.#address);
    });
    if (names.length > 0) {
      this.#logger.info({ keyspace: this.#address.keyspace, migrations: names }, 'archive schema applied');
    }
    return names;
  }

  async write(rows: readonly ArchiveRow[]): Promise<void> {
    if (rows.length === 0) {
      return;
    }
    const consequences = consequencesOf(rows);
    await this.#run(`write ${rows.length} rows`, async () => {
      await this.#sendAll(messageBatches(this.#queries, rows));
      await this.#sendAll(changeBatches(this.#queries, consequences.changes));
      const buckets = [...consequences.senderBuckets].filter(([key]) => !this.#knownBuckets.has(key));
      await this.#sendAll([
        ...indexBatches(this.#queries, consequences),
        ...buckets.map(([, { sender, channel, bucket, at }]) => [
          { query: this.#queries.putSenderBucket, params: [sender, channel, bucket, at] },
        ]),
      ]);
      for (const [key] of buckets) {
        this.#knownBuckets.set(key, true);
      }
      await this.#emptyDeleted(consequences.changes);
    });
  }

  async page(channel: string, query: PageQuery): Promise<ArchiveRow[]> {
    return this.#run(`read a page of ${channel}`, async () => {
      const after = query.after ?? 0;
      let top = query.before === undefined ? Number.POSITIVE_INFINITY : query.before - 1;
      if (top - after > FAR_BUCKETS * BUCKET_SIZE) {
        // Without a near bound, the head says where the buckets end.
        top = Math.min(top, await this.#lastSeq(channel));
      }
      const [lowest, highest] = [bucketOf(after + 1), bucketOf(top)];
      const newest = query.order === 'newest';
      const rows: ArchiveRow[] = [];
      let width = 1;
      for (
        let done = 0;
        done <= highest - lowest && rows.length < query.limit;
        width = Math.min(width * 2, BUCKETS_AT_ONCE)
      ) {
        const count = Math.min(width, highest - lowest - done + 1);
        const buckets = Array.from({ length: count }, (_, i) => (newest ? highest - done - i : lowest + done + i));
        const bounds = { after, before: top + 1, limit: query.limit - rows.length, newest };
        for (const part of await Promise.all(buckets.map((bucket) => this.#bucket(channel, bucket, bounds)))) {
          rows.push(...part.slice(0, query.limit - rows.length));
        }
        done += count;
      }
      return rows;
    });
  }

  async lastSeq(channel: string): Promise<number> {
    return this.#run(`read the head of ${channel}`, () => this.#lastSeq(channel));
  }

  async isEmpty(): Promise<boolean> {
    try {
      return await this.#run('look whether there is anything', async () => {
        const { rows } = await this.#read(this.#queries.any, [], 1);
        return rows.length === 0 && (await this.#facts.isEmpty());
      });
    } catch (error) {
      // An operator has yet to apply the schema: there is nothing.
      if (error instanceof ArchiveError && error.code === 'schema') return true;
      throw error;
    }
  }

  async channel(channel: string): Promise<ArchivedChannel> {
    return this.#run(`read the channel ${channel}`, async () => {
      const parties = channel.startsWith('dm:') ? partiesOf(channel) : [];
      const [{ rows }, memberRows, facts, ...states] = await Promise.all([
        this.#read(this.#queries.channel, [channel], 1),
        this.#readAll(this.#queries.membersOf, [channel]),
        this.#facts.ofChannel(channel),
        ...parties.map((user) => this.#read(this.#queries.isIn, [user, channel], 1)),
      ]);
      const [title, createdBy, createdAt]: unknown[] = ['title', 'created_by', 'created_at'].map((name) =>
        rows[0]?.get(name),
      );
      const members = memberRows.map((row) => ({
        user: String(row.get('user_id')),
        seq: Number(row.get('seq')),
        action: String(row.get('action')) as MemberAction,
        role: String(row.get('role')),
      }));
      members.sort((a, b) => a.seq - b.seq);
      return {
        lastSeq: Number(rows[0]?.get('last_seq') ?? 0),
        ...(typeof title === 'string' ? { title } : {}),
        ...(typeof createdBy === 'string' ? { createdBy } : {}),
        ...(createdAt instanceof Date ? { createdAt: createdAt.getTime() } : {}),
        members,
        erased: parties.filter((_, i) => states[i]?.rows[0]?.get('active') === false),
        ...facts,
      };
    });
  }

  async channelsOf(user: string): Promise<string[]> {
    return (await this.#everIn(user)).filter(({ active }) => active).map(({ channel }) => channel);
  }

  #everIn(user: string): Promise<{ channel: string; active: boolean }[]> {
    return this.#run(`read the channels of ${user}`, async () => {
      const rows = await this.#readAll(this.#queries.channelsOf, [user]);
      return rows.map((row) => ({ channel: String(row.get('channel_id')), active: row.get('active') === true }));
    });
  }

  async sentIn(user: string): Promise<SenderBucket[]> {
    return this.#run(`read where ${user} wrote`, async () => {
      const rows = await this.#readAll(this.#queries.sentIn, [user]);
      return rows.map((row) => ({ channel: String(row.get('channel_id')), bucket: Number(row.get('bucket')) }));
    });
  }

  async keep(facts: readonly Fact[], at: number): Promise<void> {
    await this.#run(`keep ${facts.length} facts`, () => this.#sendAll(this.#facts.writes(facts, at)));
  }

  async account(user: string): Promise<ArchivedAccount> {
    return this.#run(`read the account of ${user}`, () => this.#facts.account(user));
  }

  async losses(partition: number): Promise<number> {
    return this.#run(`read the losses of partition ${partition}`, () => this.#facts.losses(partition));
  }

  /** A bucket has a bounded number of rows; its sender is not part of the key. */
  async erase(user: string, { channel, bucket }: SenderBucket, upTo: string): Promise<void> {
    await this.#run(`erase ${user} in ${channel}`, async () => {
      const at = writtenAt(upTo);
      const writes: Batch = [];
      const options = { prepare: true, autoPage: true };
      for await (const row of await this.#client.execute(this.#queries.sendersIn, [channel, bucket], options)) {
        if (row.get('sender_id') !== user || writtenAt(String(row.get('log_id'))) > at) continue;
        const key = [at + 1, channel, bucket, Number(row.get('seq')), row.get('message_id')];
        if (row.get('type') === 'message') writes.push({ query: this.#queries.putDeleted, params: key });
        else if (row.get('type') === 'edited') writes.push({ query: this.#queries.emptyChange, params: key });
      }
      await this.#sendAll(batchesOf(writes));
    });
  }

  async forgetChannels(user: string, upTo: string): Promise<void> {
    const channels = await this.#everIn(user);
    const at = writtenAt(upTo) + 1;
    await this.#run(`take ${user} out of their channels`, () =>
      this.#sendAll(
        channels.flatMap(({ channel, active }): Batch[] => [
          ...(channel.startsWith('g:')
            ? [[{ query: this.#queries.forgetMembership, params: [at, channel, user] }]]
            : []),
          ...(active ? [[{ query: this.#queries.leaveChannel, params: [at, user, channel] }]] : []),
        ]),
      ),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#client.shutdown();
  }

  async #lastSeq(channel: string): Promise<number> {
    const result = await this.#read(this.#queries.lastSeq, [channel], 1);
    return Number(result.rows[0]?.get('last_seq') ?? 0);
  }

  async #bucket(
    channel: string,
    bucket: number,
    { after, before, limit, newest }: { after: number; before: number; limit: number; newest: boolean },
  ): Promise<ArchiveRow[]> {
    const query = newest ? this.#queries.pageNewest : this.#queries.pageOldest;
    const result = await this.#read(query, [channel, bucket, after, before, limit], limit);
    // A change whose message was never written left cells, but no row.
    return result.rows.filter((row) => row.get('type') !== null).map((row) => fromRow(channel, row));
  }

  /**
   * Takes the texts of deleted messages out of the rows of their edits. Whoever writes a change looks only after it: of two
   * that write at once, at least the last to look sees both. Of two cells with the same time the empty one wins, so an
   * edit that is written again stays empty.
   */
  async #emptyDeleted(changes: readonly MessageChange[]): Promise<void> {
    const targets = new Map(
      changes.map(({ channel, target: { seq, id } }) => [`${channel} ${id}`, { channel, seq, id }]),
    );
    const batches: Batch[] = [];
    for (const { channel, seq, id } of targets.values()) {
      const message = [channel, bucketOf(seq), seq, id];
      const { rows } = await this.#client.execute(this.#queries.deletionOf, message, { prepare: true });
      if (rows[0]?.get('deleted') !== true) continue;
      const options = { prepare: true, autoPage: true };
      for await (const edit of await this.#client.execute(this.#queries.editsOf, message, options)) {
        const at = writtenAt(String(edit.get('log_id')));
        const edited = Number(edit.get('seq'));
        const own = [at, channel, bucketOf(edited), edited, edit.get('message_id')];
        batches.push([{ query: this.#queries.emptyChange, params: own }]);
        // One that came after the deletion has put its text into the message.
        batches.push([{ query: this.#queries.emptyChange, params: [at, ...message] }]);
      }
    }
    await this.#sendAll(batches);
  }

  #read(query: string, params: unknown[], limit: number) {
    return this.#client.execute(query, params, { prepare: true, executionProfile: 'read', fetchSize: limit });
  }

  async #readAll(query: string, params: unknown[]): Promise<types.Row[]> {
    const rows: types.Row[] = [];
    const options = { prepare: true, executionProfile: 'read', autoPage: true };
    for await (const row of await this.#client.execute(query, params, options)) rows.push(row);
    return rows;
  }

  /** All the batches, a bounded number at once. After the first failure no more are started; it rejects when none is left. */
  async #sendAll(batches: readonly Batch[]): Promise<void> {
    let next = 0;
    let failure: { error: unknown } | undefined;
    const lane = async (): Promise<void> => {
      while (next < batches.length && failure === undefined) {
        const batch = batches[next++]!;
        try {
          await this.#send(batch);
        } catch (error) {
          failure ??= { error };
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(WRITES_IN_FLIGHT, batches.length) }, lane));
    if (failure !== undefined) {
      throw failure.error;
    }
  }

  async #send(batch: Batch): Promise<void> {
    if (batch.length === 1) {
      await this.#client.execute(batch[0]!.query, batch[0]!.params, { prepare: true });
    } else {
      await this.#client.batch(batch, { prepare: true, logged: false });
    }
  }

  async #run<T>(what: string, action: () => Promise<T>): Promise<T> {
    if (this.#closed) {
      throw new ArchiveError('closed', `Could not ${what}: the archive is closed.`);
    }
    try {
      return await action();
    } catch (cause) {
      throw archiveError(what, cause, this.#address);
    }
  }
}
