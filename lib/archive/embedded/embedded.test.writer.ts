/** A process of its own for embedded.test.ts: opens the file and writes 2,000 rows of its channel in batches. */
import { pino } from 'pino';
import { openArchive } from '../index.ts';

const [file, channel] = process.argv.slice(2) as [string, string];
const archive = await openArchive(`sqlite:${file}`, { logger: pino({ level: 'silent' }) });
for (let seq = 1; seq <= 2000; seq += 20) {
  await archive.write(
    Array.from({ length: 20 }, (_, i) => ({
      channel,
      seq: seq + i,
      id: `00000000-0000-1000-8000-${String(seq + i).padStart(12, '0')}`,
      logId: `${1_763_000_000_000 + seq + i}-0`,
      type: 'message',
      from: 'alice',
      clientId: `c${seq + i}`,
      ts: 1_763_000_000_000,
      content: 'x',
    })),
  );
}
await archive.close();
