/** The thread that writes: one transaction per request, in the order in which they come. */
import { parentPort, workerData } from 'node:worker_threads';
import { pino } from 'pino';
import { ArchiveError } from '../archive.ts';
import { EmbeddedArchive } from './embedded.ts';
import type { WriteAnswer, WriteRequest } from './writer.ts';

// Its owner logs: what goes wrong here goes there as an answer.
const archive = new EmbeddedArchive((workerData as { file: string }).file, { logger: pino({ enabled: false }) });
await archive.open();

parentPort?.on('message', (request: WriteRequest | 'close') => {
  if (request === 'close') {
    void archive.close().then(() => parentPort?.close());
    return;
  }
  const { id, work } = request;
  const answer: WriteAnswer = { id };
  try {
    if ('rows' in work) archive.writeNow(work.rows);
    else if ('erase' in work) archive.eraseNow(work.erase);
    else archive.keepNow(work.keep.facts, work.keep.at);
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    const badRow = error.row === undefined || !('rows' in work) ? {} : { badRow: work.rows.indexOf(error.row) };
    answer.error = { code: error.code, message: error.message, ...badRow };
  }
  parentPort?.postMessage(answer);
});
