import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import {
  type Archive,
  type ArchivedAccount,
  type ArchivedChannel,
  ArchiveError,
  type ArchiveRow,
  type Fact,
  type PageQuery,
  type SenderBucket,
} from '../archive.ts';
import { BUCKET_SIZE, consequencesOf, type MemberChange, partiesOf, writtenAt } from '../rows.ts';
import { applyChanges } from './changes.ts';
import { Facts } from './facts.ts';
import { applied, MIGRATIONS, migrate, transaction } from './schema.ts';
import { prepare, type Statements, type StoredRow } from './statements.ts';
import { type EraseOrder, Writer } from './writer.ts';

/**
 * The archive in one SQLite file: the default of a single machine.
 *
 * Several processes open the same file: archivers write, gateways read. WAL lets readers go on while one process
 * writes; writers queue on `busy_timeout`. `synchronous = FULL` makes a commit durable before the archiver moves its
 * position. Reads run on the caller's thread: a page of 50 takes some 0.1 ms, less than handing it to another thread and back
 * would cost. Writes have a thread of their own, from the first one on: an fsync takes as long as the disk likes.
 */
const BUSY_TIMEOUT_MS = 5_000;

export class EmbeddedArchive implements Archive {
  readonly kind = 'sqlite';
  readonly #file: string;
  readonly #logger: Logger;
  #db: DatabaseSync | undefined;
  #statements: Statements | undefined;
  #facts: Facts | undefined;
  #writer: Writer | undefined;
  /** Sender buckets that are surely there: most rows are of these, and need no second statement. */
  readonly #knownBuckets = new LRUCache<string, true>({ max: 50_000 });

  constructor(file: string, options: { logger: Logger }) {
    this.#file = file;
    this.#logger = options.logger;
  }

  /** Opens the file, makes it and its folder when missing, and brings its schema up to date. */
  async open(): Promise<void> {
    this.#run(`open ${this.#file}`, () => {
      if (this.#file !== ':memory:') {
        mkdirSync(dirname(this.#file), { recursive: true });
      }
      const db = new DatabaseSync(this.#file);
      try {
        // The time-out first: turning WAL on is itself something that another process can be in the middle of.
        db.exec(
          `PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 4000;`,
        );
        this.#db = db;
        migrate(db);
        this.#statements = prepare(db);
        this.#facts = new Facts(db);
      } catch (error) {
        this.#db = undefined;
        db.close();
        throw error;
      }
    });
  }

  async ready(): Promise<void> {
    this.#run('read the schema', () => {
      const db = this.#open();
      const known = new Set(MIGRATIONS.map(({ name }) => name));
      const foreign = applied(db).find((name) => !known.has(name));
      if (foreign !== undefined) {
        throw new ArchiveError(
          'schema',
          `${this.#file} was made by a newer Millrace (migration ${foreign}): start that version, or use another file.`,
        );
      }
    });
  }

  async applySchema(): Promise<string[]> {
    const names = this.#run('apply the schema', () => migrate(this.#open()));
    if (names.length > 0) {
      this.#logger.info({ file: this.#file, migrations: names }, 'archive schema applied');
    }
    return names;
  }

  async write(rows: readonly ArchiveRow[]): Promise<void> {
    await this.#writing().write(rows);
  }

  async erase(user: string, where: SenderBucket, upTo: string): Promise<void> {
    await this.#writing().ask({ erase: { user, where, upTo } });
  }

  async forgetChannels(user: string, upTo: string): Promise<void> {
    await this.#writing().ask({ erase: { user, upTo } });
  }

  async keep(facts: readonly Fact[], at: number): Promise<void> {
    if (facts.length > 0) await this.#writing().ask({ keep: { facts, at } });
  }

  /** On the caller's thread. */
  keepNow(facts: readonly Fact[], at: number): void {
    this.#run(`keep ${facts.length} facts`, () => {
      const known = this.#known();
      transaction(this.#open(), () => known.put(facts, at));
    });
  }

  /** On the caller's thread. Without `where`: the user's channels. */
  eraseNow({ user, where, upTo }: EraseOrder): void {
    this.#run(`erase ${user}`, () => {
      const s = this.#prepared();
      const at = writtenAt(upTo);
      transaction(this.#open(), () => {
        if (!where) {
          s.forgetMemberships.run(at + 1, user, at, user);
          s.forgetChannels.run(at + 1, user, at);
          return;
        }
        const from = where.bucket * BUCKET_SIZE;
        for (const statement of [s.eraseMessages, s.eraseEdits]) {
          statement.run(at + 1, where.channel, from, from + BUCKET_SIZE, user, at);
        }
      });
    });
  }

  /** On the caller's thread: what the writer's thread runs. */
  writeNow(rows: readonly ArchiveRow[]): void {
    if (rows.length === 0) {
      return;
    }
    const { channels, members, peers, senderBuckets } = consequencesOf(rows);
    this.#run(`write ${rows.length} rows`, () => {
      const s = this.#prepared();
      transaction(this.#open(), () => {
        for (const row of rows) {
          s.putMessage.run(
            row.channel,
            row.seq,
            row.id,
            row.logId,
            row.type,
            row.from,
            row.clientId,
            row.content ?? null,
            row.metadata ?? null,
            row.data ?? null,
            row.ts,
            row.target?.seq ?? null,
            row.target?.id ?? null,
            writtenAt(row.logId),
          );
        }
        applyChanges(s, rows);
        for (const change of channels) {
          if (change.title !== undefined) {
            s.putTitle.run(change.channel, change.title, change.at);
          }
          if (change.createdBy !== undefined) {
            s.putCreated.run(change.channel, change.createdBy, change.createdAt ?? null);
          }
        }
        for (const m of members) {
          s.putMember.run(m.channel, m.user, m.seq, m.action, m.role, m.at);
          s.putChannelOfUser.run(m.user, m.channel, m.seq, m.action === 'removed' ? 0 : 1, m.at);
        }
        for (const peer of peers) {
          s.putChannelOfUser.run(peer.user, peer.channel, peer.seq, 1, peer.at);
        }
        for (const [key, { sender, channel, bucket }] of senderBuckets) {
          if (!this.#knownBuckets.has(key)) s.putSenderBucket.run(sender, channel, bucket);
        }
      });
    });
    for (const key of senderBuckets.keys()) this.#knownBuckets.set(key, true);
  }

  async page(channel: string, query: PageQuery): Promise<ArchiveRow[]> {
    const after = query.after ?? 0;
    const before = query.before ?? Number.MAX_SAFE_INTEGER;
    return this.#run(`read a page of ${channel}`, () => {
      const s = this.#prepared();
      const statement = query.order === 'newest' ? s.pageNewest : s.pageOldest;
      return (statement.all(channel, after, before, query.limit) as unknown as StoredRow[]).map(fromStored);
    });
  }

  async lastSeq(channel: string): Promise<number> {
    return this.#run(`read the head of ${channel}`, () => {
      const row = this.#prepared().lastSeq.get(channel) as { last_seq: number } | undefined;
      return row?.last_seq ?? 0;
    });
  }

  async isEmpty(): Promise<boolean> {
    return this.#run(
      'look whether there is anything',
      () => this.#prepared().any.get() === undefined && this.#known().isEmpty(),
    );
  }

  async channel(channel: string): Promise<ArchivedChannel> {
    const lastSeq = await this.lastSeq(channel);
    return this.#run(`read the channel ${channel}`, () => {
      const s = this.#prepared();
      const row = s.channel.get(channel) as Partial<Record<string, string | number | null>> | undefined;
      const members = s.membersOf.all(channel) as unknown as (Omit<MemberChange, 'user'> & { user_id: string })[];
      const parties = channel.startsWith('dm:') ? partiesOf(channel) : [];
      return {
        lastSeq,
        ...(typeof row?.title === 'string' ? { title: row.title } : {}),
        ...(typeof row?.created_by === 'string' ? { createdBy: row.created_by } : {}),
        ...(typeof row?.created_at === 'number' ? { createdAt: row.created_at } : {}),
        members: members.map(({ user_id: user, seq, action, role }) => ({ user, seq, action, role })),
        erased: parties.filter((user) => s.isIn.get(user, channel)?.active === 0),
        ...this.#known().ofChannel(channel),
      };
    });
  }

  async account(user: string): Promise<ArchivedAccount> {
    return this.#run(`read the account of ${user}`, () => this.#known().account(user));
  }

  async losses(partition: number): Promise<number> {
    return this.#run(`read the losses of partition ${partition}`, () => this.#known().losses(partition));
  }

  async channelsOf(user: string): Promise<string[]> {
    return this.#run(`read the channels of ${user}`, () => {
      const rows = this.#prepared().channelsOf.all(user) as unknown as { channel_id: string }[];
      return rows.map((row) => row.channel_id);
    });
  }

  async sentIn(user: string): Promise<SenderBucket[]> {
    return this.#run(`read where ${user} wrote`, () => {
      const rows = this.#prepared().sentIn.all(user) as unknown as { channel_id: string; bucket: number }[];
      return rows.map((row) => ({ channel: row.channel_id, bucket: row.bucket }));
    });
  }

  async close(): Promise<void> {
    await this.#writer?.close();
    this.#writer = undefined;
    this.#db?.close();
    this.#db = undefined;
    this.#statements = undefined;
    this.#facts = undefined;
  }

  #writing(): Writer {
    this.#open();
    this.#writer ??= new Writer(this.#file);
    return this.#writer;
  }

  #open(): DatabaseSync {
    if (this.#db === undefined) {
      throw new ArchiveError('closed', `The archive ${this.#file} is closed.`);
    }
    return this.#db;
  }

  #prepared(): Statements {
    this.#open();
    return this.#statements!;
  }

  #known(): Facts {
    this.#open();
    return this.#facts!;
  }

  /** Whatever SQLite says (busy, disk full, read-only) can pass: only rows and calls of ours are final. */
  #run<T>(what: string, action: () => T): T {
    try {
      return action();
    } catch (cause) {
      if (cause instanceof ArchiveError) {
        throw cause;
      }
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new ArchiveError(
        'unavailable',
        `Could not ${what} in the archive ${this.#file}: ${reason}. Check that the disk has room, and that the file and its folder may be written.`,
        { cause },
      );
    }
  }
}

function fromStored(row: StoredRow): ArchiveRow {
  return {
    channel: row.channel_id,
    seq: row.seq,
    id: row.message_id,
    logId: row.log_id,
    type: row.type,
    from: row.sender_id,
    clientId: row.client_id,
    ts: row.created_at,
    ...(row.content === null ? {} : { content: row.content }),
    ...(row.metadata === null ? {} : { metadata: row.metadata }),
    ...(row.data === null ? {} : { data: row.data }),
    ...(row.target_seq === null ? {} : { target: { seq: row.target_seq, id: row.target_id ?? '' } }),
    ...(row.edited_seq === null ? {} : { edited: { seq: row.edited_seq, at: row.edited_at ?? 0 } }),
    ...(row.deleted === null ? {} : { deleted: true as const }),
  };
}
