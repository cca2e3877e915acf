/**
 * The archiver as a process: leases partitions, follows their logs into the archive, moves its position, trims the log.
 *
 * The position moves only after the archive has the rows, so a kill in between repeats and loses nothing: writes carry
 * the log's time and are idempotent (design, rule 11).
 */
import { setImmediate } from 'node:timers/promises';
import { rowOf } from '../../lib/archive/from-log.ts';
import { type Archive, ArchiveError, type ArchiveRow } from '../../lib/archive/index.ts';
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { LogWorker } from '../../lib/partitions/log-worker.ts';
import { LOG_ROLES, LOG_TAIL_MS } from '../../lib/partitions/roles.ts';
import { repeat } from '../../lib/process/repeat.ts';
import { startAlone } from '../../lib/process/run.ts';
import { Rebuilder } from '../../lib/rebuild/index.ts';
import { AccountVerbs } from '../../lib/redis/account-verbs.ts';
import type { StreamEntry } from '../../lib/redis/blocking.ts';
import type { LogBatch } from '../../lib/redis/follow.ts';
import { msOf, ZERO } from '../../lib/redis/ids.ts';
import { PushVerbs } from '../../lib/redis/push-verbs.ts';
import { SaveVerbs } from '../../lib/redis/save-verbs.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { Erasures } from './erasures.ts';
import { withSigns } from './patience.ts';
import { Saves } from './saves.ts';

const ROLE = 'archiver';
/** At 3 µs an entry (design §10), 16 partitions in one read hold Redis for 5 ms. */
const ENTRIES_PER_READ = 100;
/** A backlog in batches this large has several rows of a channel together, which cost a store little more than one. */
const ENTRIES_PER_ROUND = 16_000;
const MOST_PER_PARTITION = 1000;
/** SQLite's rows travel to its thread and keep other writers out meanwhile; Cassandra's are many statements at once. */
const ROWS_PER_WRITE = { sqlite: 100, cassandra: 2000 };
/** Rows made in one turn of the event loop: about half a millisecond. */
const ROWS_PER_TURN = 50;
/** History joins the log's tail, so nobody waits for the archive: fuller batches cost less. */
const INTERVAL_MS = 250;
/** Of one write: signs of life while it lasts, and how long it may last. Three tries of 4 s on each of a few statements. */
const SIGN_MS = 1000;
/** How often erasures are looked for; waiting ones go on at the same pace. */
const ERASURES_MS = 1000;
/** How often it is looked for what else the archive has to be told. */
const SAVES_MS = 1000;
const WRITE_AT_MOST_MS = 60_000;

export async function startArchiver(ctx: AppContext): Promise<RunningApp> {
  const { store, metrics, config, archive } = ctx;
  const logger = ctx.logger.child({ role: ROLE });
  const keys = keyspace(config.partitions, { oneNode: store.kind !== 'cluster' });
  const verbs = new Verbs(store.command, keys, (name, seconds) => metrics.redisSeconds.of(name).observe(seconds));

  async function setAside(p: number, entry: { id: string; fields: string[] }, reason: string): Promise<void> {
    await store.command.xadd(
      keys.dead(p),
      'MAXLEN',
      '~',
      10_000,
      '*',
      'kind',
      'archive',
      'log_id',
      entry.id,
      'reason',
      reason,
      ...entry.fields,
    );
    metrics.deadLetters.of(ROLE).inc();
    logger.error({ partition: p, logId: entry.id, reason }, 'a log entry cannot be archived and was set aside');
  }

  function showLag(p: number, todo: readonly StreamEntry[]): void {
    const seconds = todo[0] ? Math.max(0, (Date.now() - msOf(todo[0].id)) / 1000) : 0;
    metrics.logLagEntries.of(ROLE, String(p)).set(todo.length);
    metrics.logLagSeconds.of(ROLE, String(p)).set(seconds);
  }

  async function handle(batches: LogBatch[]): Promise<void> {
    // Before the attempt: while the archive is away each one shows how old the oldest entry has become.
    for (const { partition, entries } of batches) showLag(partition, entries);
    const rows: ArchiveRow[] = [];
    const origin = new Map<ArchiveRow, { p: number; entry: StreamEntry }>();
    for (const { partition, entries } of batches) {
      for (const entry of entries) {
        // Others' messages wait for this event loop, fan-out's among them.
        if (rows.length % ROWS_PER_TURN === ROWS_PER_TURN - 1) await setImmediate();
        try {
          const row = rowOf(entry);
          rows.push(row);
          origin.set(row, { p: partition, entry });
        } catch (error) {
          await setAside(partition, entry, error instanceof Error ? error.message : String(error));
        }
      }
    }
    const perWrite = ROWS_PER_WRITE[archive.kind];
    for (let i = 0; i < rows.length; i += perWrite) {
      const started = performance.now();
      const chunk = rows.slice(i, i + perWrite);
      const writing = writeAll(archive, chunk, async (row, reason) => {
        const from = origin.get(row);
        if (from) await setAside(from.p, from.entry, reason);
      });
      await withSigns(writing, () => logs.completedRound(), SIGN_MS, WRITE_AT_MOST_MS);
      metrics.archiveBatch.observe(chunk.length);
      metrics.archiveSeconds.observe((performance.now() - started) / 1000);
    }
    await Promise.all(
      batches.map(async ({ partition, entries }) => {
        const last = entries.at(-1);
        if (!last || !logs.held.has(partition)) return;
        await verbs.advance(partition, ROLE, last.id, { tailMs: LOG_TAIL_MS, ...config }, LOG_ROLES);
        showLag(partition, []);
      }),
    );
  }

  const logs: LogWorker = new LogWorker(ctx, {
    role: ROLE,
    logger,
    count: ENTRIES_PER_READ,
    roundCount: Math.min(MOST_PER_PARTITION, Math.ceil(ENTRIES_PER_ROUND / config.partitions)),
    intervalMs: () => INTERVAL_MS,
    gain: async (p) => (await store.command.hget(keys.positions(p), ROLE)) ?? ZERO,
    handle,
    onRetry: () => metrics.retries.of('archive').inc(),
  });
  const erasures = new Erasures({
    store,
    keys,
    verbs,
    accounts: new AccountVerbs(store.command, keys),
    push: new PushVerbs(store.command, keys),
    archive,
    rebuild: new Rebuilder({ store, keys, archive, metrics, logger }),
    logger,
    held: logs.held,
  });
  const saves = new Saves({ verbs: new SaveVerbs(store.command, keys), archive, metrics, held: logs.held });
  const stopSaving = repeat('archiving blocks, tokens and watermarks', SAVES_MS, logger, () => saves.look());
  const stopErasing = repeat('erasing users', ERASURES_MS, logger, () => erasures.look());
  await logs.start();
  return {
    async stop() {
      stopErasing();
      erasures.stop();
      stopSaving();
      saves.stop();
      await logs.stop();
    },
  };
}

/** A row that can never be written is set aside; the others are written. Anything else is the caller's to repeat. */
async function writeAll(
  archive: Archive,
  rows: readonly ArchiveRow[],
  onBadRow: (row: ArchiveRow, reason: string) => Promise<void>,
): Promise<void> {
  let left = rows;
  while (left.length > 0) {
    try {
      return await archive.write(left);
    } catch (error) {
      if (!(error instanceof ArchiveError) || error.retryable || !error.row) throw error;
      const bad = error.row;
      await onBadRow(bad, error.message);
      left = left.filter((row) => row !== bad);
    }
  }
}

if (import.meta.main) await startAlone('archiver', startArchiver);
