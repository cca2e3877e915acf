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
    serializers: { err: describeError },
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

/**
 * An error's own words and nothing that hangs on it: ioredis attaches the whole command, arguments and so message
 * contents included.
 */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  };
}
