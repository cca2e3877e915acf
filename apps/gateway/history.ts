import { type LogEntry, rowOf } from '../../lib/archive/from-log.ts';
import type { Archive, ArchiveRow } from '../../lib/archive/index.ts';
import type { History, HistoryEntry } from '../../lib/protocol/http.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { changesAbove, type Walk, withoutText } from './history-changes.ts';
import { historyEntry } from './history-entry.ts';

/**
 * Reads a page of a channel's history: from the archive, and what is not there yet from the log's tail, so that a
 * message is readable from the moment it was accepted, whichever side holds it.
 *
 * Invariant: the caller reads the channel's head *before* calling. Every sequence number up to `head.seq` is then in
 * the log's chain that ends at `head.last`, or was archived before the log was trimmed, or is void. So:
 *
 * * the archive is read first; what lies between its rows is a gap;
 * * gaps are walked back to in the log, from the head, each entry naming the one before (`prev`). What a walk has
 *   passed without meeting is void: the chain says so;
 * * when the log has no more, the archive is read once more for what is still open, because an archiver may have
 *   written and trimmed in between; what is then in neither is void;
 * * without the archive, or when the walk is at its bound, a gap stays open, and `complete_to` ends before it;
 * * the archive has erased what an erased user wrote; the log's tail still holds it: of a page that was made without the
 *   archive the text is left out here;
 * * changes that the archive may not have applied yet are looked up in the log (`history-changes.ts`).
 */
export interface HistoryRequest {
  archive: Pick<Archive, 'page'>;
  /** Entries of the channel backwards from a log id, newest first, down to `minSeq`; `next`: where to go on. */
  tail(fromLogId: string, minSeq: number, maxHops: number): Promise<{ next: string | null; entries: LogEntry[] }>;
  channel: string;
  /** Exclusive bounds. With `after`: oldest first; otherwise newest first. */
  query: { before?: number; after?: number; limit: number };
  /** The channel's last seq and its log id, seq 0 when nothing was ever sent; the log id of its latest change. */
  head: { seq: number; last: string; changed?: string | undefined };
  /** As `tail`, over the channel's changes alone. */
  changes: Walk;
  /** The archive has every entry up to this log id, as it was known before calling. */
  archivedTo: string;
  /** What the caller may see, both ends included; undefined: all. */
  intervals?: readonly { from: number; to?: number }[];
  /** Of those of these users who were erased: up to when, ms. */
  erasedUntil(users: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Told that the archive (the page is then made from the log, as far as that goes) or an entry could not be read. */
  archiveFailed(error: unknown): void;
}

/** A script call stays below a millisecond of Redis (10 to 20 µs a hop). */
const HOPS_PER_CALL = 50;
/** 20 calls: what a page may cost Redis when the archive is far behind or away. Then `complete_to` says so. */
const MAX_CALLS = 20;
/** A person waits for the page: an archive that is frozen must not hold it longer. */
const ARCHIVE_TIMEOUT_MS = 2_500;

/** Both ends included. */
interface Range {
  from: number;
  to: number;
}

export async function readHistory(request: HistoryRequest): Promise<History> {
  const { query, head } = request;
  const newest = query.after === undefined;
  const ranges = visible(request);
  if (ranges.length === 0) {
    return { messages: [], last_seq: head.seq, complete_to: head.seq };
  }

  const found = new Rows(ranges, newest, query.limit);
  const archived = await readArchive(request, ranges, newest);
  found.add(archived ?? []);
  const walked = await walk(request, found);
  let open = found.gaps().filter((gap) => gap.from < walked.reached);
  let fromArchive = archived !== undefined;
  if (open.length > 0 && archived !== undefined && walked.ended) {
    const again = await readArchive(request, open, newest);
    found.add(again ?? []);
    fromArchive = again !== undefined;
    open = again === undefined ? found.gaps().filter((gap) => gap.from < walked.reached) : [];
  }
  const lowest = open[0]?.from;
  const { rows, complete } = await latestState(request, found.page(), archived !== undefined);
  const shown = fromArchive ? rows : await withoutErased(request, rows);
  return {
    messages: shown.map(historyEntry).filter((entry): entry is HistoryEntry => entry !== undefined),
    last_seq: head.seq,
    complete_to: !complete ? 0 : lowest === undefined ? head.seq : lowest - 1,
  };
}

/** The rows with the changes that the archive may lack; without the archive, with all that the log holds. */
async function latestState(
  { head, archivedTo, changes: walk, archiveFailed }: HistoryRequest,
  rows: ArchiveRow[],
  fromArchive: boolean,
): Promise<{ rows: ArchiveRow[]; complete: boolean }> {
  const above = fromArchive ? archivedTo : ZERO;
  if (rows.length === 0 || head.changed === undefined || compareIds(head.changed, above) <= 0) {
    return { rows, complete: true };
  }
  const { changes, complete } = await changesAbove(walk, head.changed, above, archiveFailed);
  return { rows: rows.map((row) => changes.applyTo(row)), complete };
}

async function withoutErased({ erasedUntil }: HistoryRequest, rows: ArchiveRow[]): Promise<ArchiveRow[]> {
  const erased = await erasedUntil([...new Set(rows.map(({ from }) => from))]);
  return rows.map((row) => (row.ts <= (erased.get(row.from) ?? Number.NEGATIVE_INFINITY) ? withoutText(row) : row));
}

/** The sequence numbers asked for that the caller may see, ascending and apart. */
function visible({ query, head, intervals = [{ from: 1 }] }: HistoryRequest): Range[] {
  const [low, high] = [(query.after ?? 0) + 1, Math.min(query.before ?? Number.POSITIVE_INFINITY, head.seq + 1) - 1];
  const ranges: Range[] = [];
  for (const { from, to = Number.POSITIVE_INFINITY } of [...intervals].sort((a, b) => a.from - b.from)) {
    const range = { from: Math.max(from, low, (ranges.at(-1)?.to ?? 0) + 1), to: Math.min(to, high) };
    if (range.from <= range.to) {
      ranges.push(range);
    }
  }
  return ranges;
}

/** undefined: the archive did not answer; the caller was told. */
async function readArchive(
  { archive, channel, query, archiveFailed }: HistoryRequest,
  ranges: readonly Range[],
  newest: boolean,
): Promise<ArchiveRow[] | undefined> {
  const rows: ArchiveRow[] = [];
  const read = async (): Promise<void> => {
    for (const { from, to } of newest ? ranges.toReversed() : ranges) {
      const limit = query.limit - rows.length;
      if (limit <= 0) {
        return;
      }
      const order = newest ? 'newest' : 'oldest';
      rows.push(...(await archive.page(channel, { after: from - 1, before: to + 1, limit, order })));
    }
  };
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    const error = new Error(`the archive did not answer within ${ARCHIVE_TIMEOUT_MS} ms`);
    timer = setTimeout(() => reject(error), ARCHIVE_TIMEOUT_MS);
  });
  try {
    await Promise.race([read(), tooLong]);
    return rows;
  } catch (error) {
    archiveFailed(error);
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Fills gaps from the log. `reached`: the chain is known from the head down to this seq; `ended`: the log holds nothing
 * below it. A failing log is the caller's to answer for: without Redis there is no head either.
 */
async function walk(
  { tail, head, archiveFailed }: HistoryRequest,
  found: Rows,
): Promise<{ reached: number; ended: boolean }> {
  let from: string | null = head.last;
  let reached = head.seq + 1;
  for (let call = 0; call < MAX_CALLS; call++) {
    const lowest = found.gaps()[0]?.from;
    if (lowest === undefined || lowest >= reached) {
      return { reached, ended: from === null };
    }
    if (from === null) {
      return { reached, ended: true };
    }
    const { next, entries }: Awaited<ReturnType<HistoryRequest['tail']>> = await tail(from, lowest, HOPS_PER_CALL);
    const rows = entries.flatMap((entry) => {
      try {
        return [rowOf(entry)];
      } catch (error) {
        // The archiver sets it aside; to readers it is void.
        archiveFailed(error);
        return [];
      }
    });
    found.add(rows);
    reached = rows.reduce((least, { seq }) => Math.min(least, seq), reached);
    from = next;
  }
  return { reached, ended: from === null };
}

/** The rows of one page as they come in from both sides: one per seq, only visible ones, no more than the page takes. */
class Rows {
  readonly #ranges: readonly Range[];
  readonly #newest: boolean;
  readonly #limit: number;
  /** In the page's order. */
  #rows: ArchiveRow[] = [];

  constructor(ranges: readonly Range[], newest: boolean, limit: number) {
    this.#ranges = ranges;
    this.#newest = newest;
    this.#limit = limit;
  }

  add(rows: readonly ArchiveRow[]): void {
    const bySeq = new Map(this.#rows.map((row) => [row.seq, row]));
    for (const row of rows) {
      const known = bySeq.get(row.seq);
      const isVisible = this.#ranges.some(({ from, to }) => from <= row.seq && row.seq <= to);
      if (isVisible && (known === undefined || compareIds(row.logId, known.logId) > 0)) {
        bySeq.set(row.seq, row);
      }
    }
    const sign = this.#newest ? -1 : 1;
    this.#rows = [...bySeq.values()].sort((a, b) => sign * (a.seq - b.seq)).slice(0, this.#limit);
  }

  page(): ArchiveRow[] {
    return this.#rows;
  }

  /** What is asked for and not here, ascending; past the end of a full page nothing is asked for. */
  gaps(): Range[] {
    const last = this.#rows.length >= this.#limit ? this.#rows.at(-1)!.seq : undefined;
    const low = last !== undefined && this.#newest ? last : 0;
    const high = last !== undefined && !this.#newest ? last : Number.POSITIVE_INFINITY;
    const seqs = this.#rows.map(({ seq }) => seq).sort((a, b) => a - b);
    const gaps: Range[] = [];
    for (const range of this.#ranges) {
      let from = Math.max(range.from, low);
      const to = Math.min(range.to, high);
      for (const seq of seqs) {
        if (seq >= from && seq <= to) {
          if (seq > from) {
            gaps.push({ from, to: seq - 1 });
          }
          from = seq + 1;
        }
      }
      if (from <= to) {
        gaps.push({ from, to });
      }
    }
    return gaps;
  }
}
