/**
 * Blocking reads. Each has a connection of its own (it holds up everything behind it on the same one) to the server
 * that has the partition's keys now.
 *
 * A read must settle, whatever happens to the server: a connection that ioredis re-establishes may forget the command
 * for ever, and a frozen server keeps its sockets open. So ioredis reconnects nothing here; a watchdog ends every read,
 * destroys the socket, and the next read makes a new one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { RedisTimeoutError, RedisUnreachableError } from './errors.ts';
import { StreamReader } from './stream-reader.ts';

export interface StreamEntry {
  id: string;
  /** [name, value, name, value…] */
  fields: string[];
}

export interface StreamBatch {
  key: string;
  entries: StreamEntry[];
}

export interface BlockingConnection {
  /**
   * XREAD: what comes after each stream's id, at most `count` entries of each. Blocks up to `blockMs` (1 to 1,000);
   * without it, not at all. Streams with nothing new are left out. Rejects when there is no reply within `blockMs` +
   * 2 s, and when the connection breaks; `isRetryable` tells whether to try again.
   */
  xread(
    streams: readonly { key: string; after: string }[],
    options: { count: number; blockMs?: number },
  ): Promise<StreamBatch[]>;
  /** Called after a reconnect, perhaps to another server, before the read that caused it goes out. */
  onReconnect(listener: () => void): void;
  close(): void;
}

/** Where a blocking connection gets its sockets from. */
export interface Dialer {
  /**
   * An unconnected client, which does not reconnect, of the server that has the keys. `moved`: where a MOVED reply
   * pointed. Throws when no server is known.
   */
  dial(moved?: string): Redis;
  /** Whether the client's server still is the one that has the keys. */
  isCurrent(client: Redis): boolean;
  /** Calls back when servers may have changed their parts. Returns the way to stop that. */
  onTopologyChange(listener: () => void): () => void;
}

const MAX_BLOCK_MS = 1000;
/** Between what was asked for and a reply: an append-only file that waits for a slow fsync can take two seconds. */
const GRACE_MS = 2000;
const CONNECT_TIMEOUT_MS = 3000;
const MAX_BACKOFF_MS = 1000;
const MAX_REDIRECTIONS = 5;

export class WatchedConnection implements BlockingConnection {
  readonly #dialer: Dialer;
  readonly #listeners: (() => void)[] = [];
  readonly #unsubscribe: () => void;
  #client: Redis | undefined;
  #reader: { client: Redis; reader: StreamReader } | undefined;
  /** Left because another server has the keys now: a read that this ended goes on there. */
  #left: Redis | undefined;
  #opening: Promise<Redis> | undefined;
  #moved: string | undefined;
  #failures = 0;
  #hadConnection = false;
  #closed = false;

  constructor(dialer: Dialer) {
    this.#dialer = dialer;
    this.#unsubscribe = dialer.onTopologyChange(() => {
      if (!this.#client || dialer.isCurrent(this.#client)) return;
      this.#left = this.#client;
      this.#drop(this.#client);
    });
  }

  onReconnect(listener: () => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    if (this.#client) this.#drop(this.#client);
  }

  async xread(
    streams: readonly { key: string; after: string }[],
    options: { count: number; blockMs?: number },
  ): Promise<StreamBatch[]> {
    const { count, blockMs } = options;
    if (blockMs !== undefined && !(blockMs >= 1 && blockMs <= MAX_BLOCK_MS)) {
      throw new RangeError(`a blocking read waits from 1 to ${MAX_BLOCK_MS} ms, not ${blockMs}`);
    }
    const args = [...streams.map(({ key }) => key), ...streams.map(({ after }) => after)];
    for (let redirections = 0; ; redirections++) {
      const client = await this.open();
      try {
        const reading = this.#readerOf(client).xread(count, blockMs, args);
        const reply = await this.#watched(client, reading, blockMs ?? 0);
        return (reply ?? []).map(([key, entries]) => ({
          key,
          entries: entries.map(([id, fields]) => ({ id, fields })),
        }));
      } catch (error) {
        const [word, , address] = error instanceof Error ? error.message.split(' ', 3) : [];
        // UNBLOCKED: the server became a replica while we waited. It would answer the next read, but lag behind.
        if (word === 'MOVED' || word === 'UNBLOCKED') this.#drop(client);
        if (word === 'MOVED') this.#moved = address;
        const elsewhere = word === 'MOVED' || (client === this.#left && !this.#closed);
        if (!elsewhere || redirections >= MAX_REDIRECTIONS) throw error;
      }
    }
  }

  #readerOf(client: Redis): StreamReader {
    if (this.#reader?.client !== client) this.#reader = { client, reader: new StreamReader(client) };
    return this.#reader.reader;
  }

  /** The connection, made anew when there is none. Rejects within a few seconds when that is not possible. */
  open(): Promise<Redis> {
    if (this.#closed) return Promise.reject(new RedisUnreachableError('the connection was closed'));
    if (this.#client?.status === 'ready') return Promise.resolve(this.#client);
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #connect(): Promise<Redis> {
    // The callers' loops need no delay of their own: one connection is tried at a time, and not too often.
    if (this.#failures > 0) {
      await sleep(Math.min(50 * 2 ** (this.#failures - 1), MAX_BACKOFF_MS) * (0.5 + Math.random() / 2));
    }
    const moved = this.#moved;
    this.#moved = undefined;
    let cause: unknown;
    let client: Redis | undefined;
    try {
      client = this.#dialer.dial(moved);
      client.on('error', (error) => {
        cause = error;
      });
      await withTimeout(client.connect(), CONNECT_TIMEOUT_MS, 'no connection to Redis');
    } catch (error) {
      this.#failures++;
      client?.disconnect();
      throw new RedisUnreachableError(`no connection for a blocking read: ${messageOf(cause ?? error)}`, {
        cause: cause ?? error,
      });
    }
    this.#failures = 0;
    if (this.#closed) {
      client.disconnect();
      throw new RedisUnreachableError('the connection was closed');
    }
    this.#client = client;
    if (this.#hadConnection) for (const listener of this.#listeners) listener();
    this.#hadConnection = true;
    return client;
  }

  async #watched<T>(client: Redis, reading: Promise<T>, blockMs: number): Promise<T> {
    try {
      return await withTimeout(reading, blockMs + GRACE_MS, 'no reply to a blocking read');
    } catch (error) {
      if (error instanceof RedisTimeoutError) this.#drop(client);
      throw error;
    }
  }

  /** Ends the connection at once; what waits on it is rejected. */
  #drop(client: Redis): void {
    if (this.#client === client) this.#client = undefined;
    client.disconnect();
    // `disconnect` half-closes the socket and waits for a server that may be frozen.
    client.stream?.destroy();
  }
}

async function withTimeout<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new RedisTimeoutError(`${what} within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
