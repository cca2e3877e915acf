/**
 * Speaks to Redis over the socket of a connected ioredis client, past ioredis.
 *
 * Lanes and scripts carry thousands of strings a second. ioredis 6 makes several objects a command and decodes replies at
 * several microseconds an entry (its private fields are WeakMaps, looked up for every digit; strings are made as buffers
 * first); `redis-parser`, which ioredis used up to version 5, takes a fraction. Connecting, authentication, TLS and
 * Sentinel stay with ioredis; from then on only this speaks over the socket, and ioredis sends nothing more.
 *
 * A write to a socket costs more than the commands in it: what is asked for in one turn of the event loop leaves in one.
 */
import type { Redis } from 'ioredis';
import Parser from 'redis-parser';
import { RedisTimeoutError } from './errors.ts';

export type Command = readonly (string | number)[];

/** What ends the line before an argument, and says how long it is; most are short. */
const lengthOf = (bytes: number) => `\r\n$${bytes}\r\n`;
const LENGTHS = Array.from({ length: 128 }, (_, bytes) => lengthOf(bytes));

/** Commands whose replies are awaited together. */
interface Request {
  /** Of the first command. */
  name: string | number | undefined;
  replies: unknown[];
  missing: number;
  withinMs: number;
  /** `performance.now()`; infinite once it was told. */
  lateAt: number;
  /** `performance.now()` */
  deadline: number;
  resolve(replies: unknown[]): void;
  reject(error: Error): void;
}

export interface Patience {
  /** Then `onLate` is called; may be longer than `withinMs`. */
  lateMs: number;
  withinMs: number;
}

export class Wire {
  readonly #client: Redis;
  readonly #onLate: () => void;
  /** Whom the replies are for, in their order. */
  readonly #waiting: Request[] = [];
  #outgoing = '';
  #ascii = true;
  /** One for all requests: a timer each would cost as much as the rest of a call. */
  #watchdog: NodeJS.Timeout | undefined;
  #watchesUntil = 0;

  /** The client must be connected with `protocol: 2`, and must be used for nothing else any more. */
  constructor(client: Redis, onLate: () => void) {
    this.#client = client;
    this.#onLate = onLate;
    const { stream } = client;
    stream.removeAllListeners('data');
    const parser = new Parser({
      returnReply: (reply) => this.#answered(reply),
      returnError: (error) => this.#answered(error),
      returnFatalError: (error) => {
        this.#fail(error);
        client.disconnect();
        stream.destroy();
      },
    });
    stream.on('data', (chunk: Buffer) => parser.execute(chunk));
    stream.once('close', () => this.#fail(new Error('Connection is closed.')));
  }

  /**
   * Sends the commands with whatever else this turn sends. Resolves with a reply each; an Error is that command's own, or
   * says that the connection ended before it was answered. Rejects when they are not all answered within the time.
   */
  request(commands: readonly Command[], { lateMs, withinMs }: Patience): Promise<unknown[]> {
    if (this.#client.stream.destroyed) return Promise.resolve(commands.map(() => new Error('Connection is closed.')));
    if (this.#outgoing === '') process.nextTick(() => this.#flush());
    for (const command of commands) this.#write(command);
    return new Promise((resolve, reject) => {
      const now = performance.now();
      const lateAt = now + lateMs;
      const deadline = now + withinMs;
      this.#waiting.push({
        name: commands[0]?.[0],
        replies: [],
        missing: commands.length,
        withinMs,
        lateAt,
        deadline,
        resolve,
        reject,
      });
      const next = Math.min(lateAt, deadline);
      if (!this.#watchdog || next < this.#watchesUntil) this.#watch(next);
    });
  }

  #write(command: Command): void {
    let text = `*${command.length}`;
    for (const part of command) {
      const argument = typeof part === 'string' ? part : String(part);
      const bytes = Buffer.byteLength(argument);
      if (bytes !== argument.length) this.#ascii = false;
      text += (LENGTHS[bytes] ?? lengthOf(bytes)) + argument;
    }
    this.#outgoing += `${text}\r\n`;
  }

  #flush(): void {
    const text = this.#outgoing;
    this.#outgoing = '';
    // ASCII is the same in both, and Latin-1 is copied as it is.
    this.#client.stream.write(text, this.#ascii ? 'latin1' : 'utf8');
    this.#ascii = true;
  }

  #answered(reply: unknown): void {
    const request = this.#waiting[0];
    if (!request) return;
    request.replies.push(reply);
    if (--request.missing > 0) return;
    this.#waiting.shift();
    request.resolve(request.replies);
  }

  #fail(error: Error): void {
    clearTimeout(this.#watchdog);
    for (const { replies, missing, resolve } of this.#waiting.splice(0)) {
      for (let i = 0; i < missing; i++) replies.push(error);
      resolve(replies);
    }
  }

  #watch(until: number): void {
    clearTimeout(this.#watchdog);
    this.#watchesUntil = until;
    this.#watchdog = setTimeout(() => this.#look(), Math.max(1, until - performance.now()));
  }

  /** What is late is told so; what else waits is watched on. */
  #look(): void {
    this.#watchdog = undefined;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    let late = false;
    for (const request of this.#waiting) {
      if (request.deadline <= now) {
        request.reject(new RedisTimeoutError(`no reply to ${request.name} within ${request.withinMs} ms`));
        continue;
      }
      if (request.lateAt <= now) {
        late = true;
        request.lateAt = Number.POSITIVE_INFINITY;
      }
      next = Math.min(next, request.lateAt, request.deadline);
    }
    if (late) this.#onLate();
    if (next < Number.POSITIVE_INFINITY) this.#watch(next);
  }
}
