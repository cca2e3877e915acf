/**
 * Logs say who and which, never what: ids, counts, durations and codes, no contents and no tokens. The redaction below
 * is the net under that rule, for objects that someone logs whole.
 */
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

const hidden = [
  'authorization',
  'content',
  'jwtSecret',
  'metadata',
  'password',
  'push_token',
  'secret',
  'title',
  'token',
];
const paths = [...hidden, ...hidden.map((name) => `*.${name}`), ...hidden.map((name) => `*.*.${name}`)];

/**
 * Readable on a terminal, JSON lines anywhere else. Logs go to standard error: standard output belongs to what a
 * command was asked for.
 */
export function createLogger(options: {
  name: string;
  level: string;
  /** Where lines go; standard error unless told otherwise. */
  destination?: { write(line: string): void };
}): Logger {
  const settings = {
    name: options.name,
    level: options.level,
    base: { pid: process.pid },
    redact: { paths, censor: '(hidden)' },
  };
  if (options.destination) return pino(settings, options.destination);
  if (process.stderr.isTTY) {
    const { pid: _, ...base } = settings.base;
    return pino(
      { ...settings, base },
      pretty({ destination: 2, sync: true, ignore: 'pid', translateTime: 'HH:MM:ss' }),
    );
  }
  return pino(settings, pino.destination({ dest: 2, sync: true }));
}
