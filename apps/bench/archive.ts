/** What a row costs a Cassandra: its CPU while rows come as the archiver writes them, and their size on disk. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { v1 } from 'uuid';
import { type ArchiveRow, openArchive } from '../../lib/archive/index.ts';
import { startCassandra } from '../../ops/cassandra/cassandra.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import type { Fact } from './report.ts';
import type { Outcome, Run } from './scenario.ts';
import { noise } from './traffic.ts';
import { cpuMicros } from './usage.ts';

const CHANNELS = 2000;
/** As the archiver writes them when it has many. */
const BATCH = 200;
/** Before the CPU is looked at: the JVM compiles what runs often. */
const WARM = 40_000;
const ROWS = 60_000;

export async function archive({ scenario, say }: Run): Promise<Outcome> {
  const dir = temporaryFolder('archive');
  const cassandra = await startCassandra({ dir, progress: say });
  const store = await openArchive(cassandra.url, { logger: pino({ level: 'silent' }) });
  const facts: Fact[] = [];
  try {
    await store.applySchema();
    const seqs = new Map<number, number>();
    const write = async (count: number) => {
      for (let left = count; left > 0; left -= BATCH) {
        await store.write(Array.from({ length: Math.min(BATCH, left) }, () => next(seqs)));
      }
    };
    await write(WARM);
    const [started, cpu] = [performance.now(), cpuMicros(cassandra.pid)];
    await write(ROWS);
    const seconds = (performance.now() - started) / 1000;
    facts.push(
      { scenario, what: 'CPU of Cassandra per row', value: (cpuMicros(cassandra.pid) - cpu) / ROWS, unit: 'µs' },
      { scenario, what: 'written by one archiver', value: ROWS / seconds, unit: 'rows/s' },
    );
  } finally {
    await store.close();
    await cassandra.stop();
  }
  const size = bytesUnder(join(dir, 'data'), (path) => !path.includes(`${join(dir, 'data')}/system`));
  facts.push({ scenario, what: 'on disk per row, one copy', value: size / (WARM + ROWS), unit: 'bytes' });
  return { rows: [], facts, pids: {} };
}

/** The next message of a random channel. */
function next(seqs: Map<number, number>): ArchiveRow {
  const n = Math.floor(Math.random() * CHANNELS);
  const seq = (seqs.get(n) ?? 0) + 1;
  seqs.set(n, seq);
  const ts = Date.now();
  const [a, b] = [`user-${n}`, `user-${n + 1}`].sort() as [string, string];
  return {
    channel: `dm:${a}:${b}`,
    seq,
    id: v1(),
    logId: `${ts}-${seqs.size}`,
    type: 'message',
    from: a,
    clientId: crypto.randomUUID(),
    ts,
    content: noise(500),
  };
}

function bytesUnder(folder: string, wanted: (path: string) => boolean): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(wanted)
    .reduce((sum, path) => sum + statSync(path).size, 0);
}
