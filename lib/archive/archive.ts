/**
 * The archive: history, kept for ever. One interface, two stores behind it (`embedded/` on SQLite, `cassandra/`).
 *
 * What it holds, in both stores under the same names:
 *
 * | table | one row is |
 * |---|---|
 * | `messages` | one sequence number of a channel: a message or an event. Dense in seq, so pages have no holes |
 * | `channels` | a channel: `last_seq`, and title and creator as far as events told them |
 * | `members_by_channel` | one change of one member (`created`, `added`, `removed`, `role`) at its seq: intervals are read off it |
 * | `channels_by_user` | a user in a channel, and whether they still are: what rebuilds a lost conversation list |
 * | `buckets_by_sender` | a bucket of a channel in which a sender wrote: where erasure and export have to look |
 * | `devices_by_user` | a device of a user with its push token: a secret, which is in no log and in no answer |
 * | `blocks_by_user` | a user who blocks another; found by either of the two |
 * | `receipts_by_channel` | a member's watermarks in a channel |
 * | `losses_by_partition` | one time that the store had lost a partition |
 *
 * A message's row holds its latest state: `edited` and `deleted` rows are stored as themselves and applied to the message
 * that they change. A deletion is final, whatever is written before or after it: no text of the message is left, neither in
 * its row nor in those of its edits.
 *
 * Invariant: every write carries the time of its log entry (`writtenAt`), a fact the time at which the store had it. A row
 * never gives way to one with an older time, so replays, and writers that woke up late, change nothing that came after them.
 */
export interface ArchiveRow {
  channel: string;
  seq: number;
  /** Version 1 UUID. */
  id: string;
  /** The log entry's id, `<ms>-<n>`. */
  logId: string;
  /** `message`, `edited`, `deleted`, `created`, `renamed`, `member`. */
  type: string;
  from: string;
  clientId: string;
  /** Unix milliseconds. */
  ts: number;
  content?: string;
  /** JSON, as it came. */
  metadata?: string;
  /** Of `edited` and `deleted`: the message that it changes. */
  target?: { seq: number; id: string };
  /** Of a message as it is read: the latest change of its content, by its seq and its time (Unix milliseconds). */
  edited?: { seq: number; at: number };
  /** Of a message as it is read: neither content nor metadata are left. Its `edited` rows have no content either. */
  deleted?: true;
  /**
   * JSON with the event's other fields. created: `{title?, members: [user]}`; renamed: `{title}`;
   * member: `{user, action, role}`.
   */
  data?: string;
}

export interface PageQuery {
  /** Exclusive lower bound. */
  after?: number;
  /** Exclusive upper bound. */
  before?: number;
  limit: number;
  order: 'newest' | 'oldest';
}

/** A stretch of a channel in which a sender wrote: `BUCKET_SIZE` sequence numbers. */
export interface SenderBucket {
  channel: string;
  bucket: number;
}

/** What is left to rebuild a channel from, beside its rows. */
export interface ArchivedChannel {
  /** 0: there is no such channel. */
  lastSeq: number;
  title?: string;
  createdBy?: string;
  /** Unix milliseconds. */
  createdAt?: number;
  /** Of a group, by seq. */
  members: { user: string; seq: number; action: MemberAction; role: string }[];
  /** Of a direct channel: who was erased, and whoever has the id now sees nothing from before. */
  erased: string[];
  /** Of a direct channel, which need not have begun: who of the two blocks the other. */
  blockedBy: string[];
  /** As far as they were kept: see `Archive.keep`. */
  receipts: { user: string; delivered: number; read: number }[];
}

export interface PushTarget {
  platform: string;
  /** A secret. */
  token: string;
}

/** What is kept of a user beside their channels. */
export interface ArchivedAccount {
  devices: ({ device: string } & PushTarget)[];
  blocks: string[];
  blockedBy: string[];
}

/** Something that is no event of a channel, as the store has it now: what it was before does not matter. */
export type Fact =
  | { kind: 'device'; user: string; device: string; target: PushTarget | undefined }
  | { kind: 'block'; user: string; other: string; holds: boolean }
  | { kind: 'read'; channel: string; user: string; watermarks: { delivered: number; read: number } | undefined }
  | { kind: 'loss'; partition: number; number: number };

export type MemberAction = 'created' | 'added' | 'removed' | 'role';

export interface Archive {
  readonly kind: 'sqlite' | 'cassandra';
  /** Resolves when the store answers and its schema is current; otherwise rejects with an ArchiveError. */
  ready(): Promise<void>;
  /** Brings the schema up to date; the names of the migrations that this call applied. */
  applySchema(): Promise<string[]>;
  /**
   * Stores the rows, and what follows from them in the other tables. Idempotent; all or, after a rejection, an unknown
   * part of them: write the same rows again. `ArchiveError.retryable` tells a store that is away from a row that can
   * never be written (`ArchiveError.row`); of such a batch nothing was written.
   */
  write(rows: readonly ArchiveRow[]): Promise<void>;
  /** Rows with after < seq < before, in the order asked for, at most `limit`. */
  page(channel: string, query: PageQuery): Promise<ArchiveRow[]>;
  /** The highest sequence number written; 0 when there is none. */
  lastSeq(channel: string): Promise<number>;
  /** Nothing was ever written to it. */
  isEmpty(): Promise<boolean>;
  channel(channel: string): Promise<ArchivedChannel>;
  /** The channels that the user is a member of, sorted. */
  channelsOf(user: string): Promise<string[]>;
  /** Where the user's messages and edits are. */
  sentIn(user: string): Promise<SenderBucket[]>;
  /**
   * Erases what the user wrote in a bucket and the log holds up to this id: messages are deleted ones from then on, edits
   * have no text. It counts as written after that id, so no replay of what came before brings anything back.
   */
  erase(user: string, where: SenderBucket, upTo: string): Promise<void>;
  /** The user is in no channel any more, nor ever was in a group, as far as the log up to this id tells. */
  forgetChannels(user: string, upTo: string): Promise<void>;
  /** Stores how things are; `at`: when the store had them so, in microseconds of its clock. Idempotent. */
  keep(facts: readonly Fact[], at: number): Promise<void>;
  account(user: string): Promise<ArchivedAccount>;
  /** The highest number kept of the partition's losses; 0: none was. */
  losses(partition: number): Promise<number>;
  close(): Promise<void>;
}

/** What went wrong, for a program: see `retryable`. */
export type ArchiveErrorCode = 'unavailable' | 'bad_row' | 'schema' | 'bad_url' | 'closed';

export class ArchiveError extends Error {
  readonly code: ArchiveErrorCode;
  /** True when the same call can succeed later without anybody changing its arguments. */
  readonly retryable: boolean;
  /** With `bad_row`: the first row that can never be written. */
  readonly row: ArchiveRow | undefined;

  constructor(code: ArchiveErrorCode, message: string, options: { cause?: unknown; row?: ArchiveRow } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'ArchiveError';
    this.code = code;
    this.retryable = code === 'unavailable' || code === 'schema';
    this.row = options.row;
  }
}
