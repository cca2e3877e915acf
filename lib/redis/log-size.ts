/** How full a partition's log is, of its bounds in entries and in bytes (design §10). */
import type { Config } from '../config/index.ts';
import type { RedisStore } from './connect.ts';

export type LogBounds = Pick<Config, 'logMaxEntries' | 'logMaxBytes'>;

/** From here on a log is trimmed harder, down to ten seconds behind the workers. */
export const CROWDED = 0.5;

/** 1: full. Redis looks at some of the stream's nodes and counts them all: microseconds, however long the log. */
export async function logFill(
  command: RedisStore['command'],
  log: string,
  { logMaxEntries, logMaxBytes }: LogBounds,
): Promise<number> {
  const [entries, bytes] = await Promise.all([command.xlen(log), command.memory('USAGE', log)]);
  return Math.max(entries / logMaxEntries, (bytes ?? 0) / logMaxBytes);
}
