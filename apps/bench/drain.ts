/**
 * How fast the archiver catches up with Cassandra: messages come in at some rate with no archiver there, then one starts.
 * Counted from its first batch to its last.
 */
import { pino } from 'pino';
import { openArchive } from '../../lib/archive/index.ts';
import { startCassandra } from '../../ops/cassandra/cassandra.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { until } from '../../ops/until.ts';
import { probe } from './probe.ts';
import { direct, type Outcome, type Run, withSetting } from './scenario.ts';
import type { Setting } from './setting.ts';
import { snapshot } from './usage.ts';

const USERS = 1000;
const CAME_IN_PER_S = 300;
const ROWS = 15_000;
/** Before it: the JVM compiles what runs often. */
const WARM_PER_S = 1000;

export async function drain(run: Run): Promise<Outcome> {
  const { scenario, say } = run;
  const cassandra = await startCassandra({ dir: temporaryFolder('drain'), progress: say });
  try {
    const store = await openArchive(cassandra.url, { logger: pino({ level: 'silent' }) });
    await store.applySchema();
    await store.close();
    return await withSetting(run, { workers: ['fanout'], archiveUrl: cassandra.url }, async (setting) => {
      const users = await setting.connect(USERS);
      const come = (rate: number) =>
        setting.generator.obey({ order: 'load', load: direct(users, rate, ROWS / rate, { warmS: 0, settleS: 60 }) });
      const cold = await caughtUp(setting, cassandra.pid, (await come(WARM_PER_S)).verdict.accepted);
      say(`${Math.round(cold.rowsPerS)} rows/s before the JVM was warm`);
      const { verdict } = await come(CAME_IN_PER_S);
      const { rowsPerS, cpuPerRow } = await caughtUp(setting, cassandra.pid, verdict.accepted);
      return {
        rows: [],
        facts: [
          { scenario, what: 'written while it catches up', value: rowsPerS, unit: 'rows/s' },
          { scenario, what: 'CPU of Cassandra per row then', value: cpuPerRow.cassandra!, unit: 'µs' },
          { scenario, what: 'CPU of the archiver per row then', value: cpuPerRow.archiver!, unit: 'µs' },
          {
            scenario,
            what: `times the ${CAME_IN_PER_S} a second at which they came`,
            value: rowsPerS / CAME_IN_PER_S,
            unit: '×',
            goal: { atLeast: 10 },
          },
        ],
        pids: setting.pids,
      };
    });
  } finally {
    await cassandra.stop();
  }
}

async function caughtUp(
  setting: Setting,
  cassandra: number,
  accepted: number,
): Promise<{ rowsPerS: number; cpuPerRow: Record<string, number> }> {
  const archiver = await setting.deployment.start('archiver');
  const pids = { cassandra, archiver: archiver.pid };
  const written = async () => (await probe([], [archiver.address])).metrics.millrace_archive_batch_rows_sum ?? 0;
  const first = await until('the first batch', 60_000, written);
  const from = snapshot(pids);
  const last = await until('all is written', 120_000, written, (rows) => rows >= accepted);
  const to = snapshot(pids);
  await archiver.stop();
  const rows = last - first;
  const cpuPerRow = Object.fromEntries(
    Object.entries(to.cpu).map(([name, micros]) => [name, (micros - from.cpu[name]!) / rows]),
  );
  return { rowsPerS: (rows / (to.at - from.at)) * 1000, cpuPerRow };
}
