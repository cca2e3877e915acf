/**
 * Connections of one's own, to the server that has a partition's keys now: for blocking reads, which hold up everything
 * behind them, and for scripts that are called one after the other anyway, at a fraction of what the shared connection
 * costs.
 *
 * A call must settle, whatever happens to the server: a connection that ioredis re-establishes may forget the command
 * for ever, and a frozen server keeps its sockets open. So ioredis reconnects nothing here; a watchdog ends every call,
 * destroys the socket, and the next call makes a new one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { RedisTimeoutError, RedisUnreachableError } from './errors.ts';
import { missing, WAIT_MS } from './script-lane.ts';
import { type Command, Wire } from './wire.ts';

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
   * 2 s, and when the connection breaks; `isRetryable` tells whether to try again. `readOn`: it continues the read before
   * it, and rejects when that was on another connection, perhaps of another server.
   */
  xread(
    streams: readonly { key: string; after: string }[],
    options: { count: number; blockMs?: number; readOn?: boolean },
  ): Promise<StreamBatch[]>;
  /**
   * Resolves when so many replicas have what the last read, and those that it continued, returned. Rejects when they do
   * not, and when the connection is no longer the one that read: the caller reads again from where it was.
   */
  confirm(replicas: number): Promise<void>;
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
  /** A connection could not be made, or a reply is late: looks whether another server has the keys, now and for a while. */
  lookAgain(): void;
  /** Calls back when servers may have changed their parts. Returns the way to stop that. */
  onTopologyChange(listener: () => void): () => void;
}

const MAX_BLOCK_MS = 1000;
/** Between what was asked for and a reply: an append-only file that waits for a slow fsync can take two seconds. */
const GRACE_MS = 2000;
/** Then something may be wrong. */
const LATE_MS = 1000;
const CONNECT_TIMEOUT_MS = 3000;
const MAX_BACKOFF_MS = 1000;
const MAX_REDIRECTIONS = 5;
/** As long as a command on the shared connection may take. */
const COMMAND_TIMEOUT_MS = 5000;

type XreadReply = [key: string, entries: [id: string, fields: string[]][]][] | null;

export class WatchedConnection implements BlockingConnection {
  readonly #dialer: Dialer;
  readonly #listeners: (() => void)[] = [];
  readonly #unsubscribe: () => void;
  #client: Redis | undefined;
  #wire: { client: Redis; wire: Wire } | undefined;
  /** Left because another server has the keys now: a read that this ended, or a connecting, goes on there. */
  #left: Redis | undefined;
  /** The connection of the last read. */
  #readFrom: Redis | undefined;
  #opening: Promise<Redis> | undefined;
  /** What is being connected. */
  #dialing: Redis | undefined;
  /** Ends the pause before the next attempt. */
  #wake: (() => void) | undefined;
  #moved: string | undefined;
  #failures = 0;
  #hadConnection = false;
  #closed = false;

  constructor(dialer: Dialer) {
    this.#dialer = dialer;
    this.#unsubscribe = dialer.onTopologyChange(() => {
      // Another server has the keys: no reason to wait for the one that did not answer.
      this.#failures = 0;
      this.#wake?.();
      if (this.#dialing && !dialer.isCurrent(this.#dialing)) {
        this.#left = this.#dialing;
        this.#drop(this.#dialing);
      }
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
    this.#wake?.();
  }

  async xread(
    streams: readonly { key: string; after: string }[],
    options: { count: number; blockMs?: number; readOn?: boolean },
  ): Promise<StreamBatch[]> {
    const { count, blockMs, readOn = false } = options;
    if (blockMs !== undefined && !(blockMs >= 1 && blockMs <= MAX_BLOCK_MS)) {
      throw new RangeError(`a blocking read waits from 1 to ${MAX_BLOCK_MS} ms, not ${blockMs}`);
    }
    const parts = ['XREAD', 'COUNT', count, ...(blockMs === undefined ? [] : ['BLOCK', Math.ceil(blockMs)]), 'STREAMS'];
    for (const { key } of streams) parts.push(key);
    for (const { after } of streams) parts.push(after);
    for (let redirections = 0; ; redirections++) {
      const client = this.#ready ?? (await this.open());
      if (readOn && client !== this.#readFrom) {
        throw new RedisUnreachableError('the connection broke between two reads');
      }
      try {
        const [reply] = await this.#send(client, [parts], blockMs ?? 0, GRACE_MS);
        if (reply instanceof Error) throw reply;
        this.#readFrom = client;
        return ((reply as XreadReply) ?? []).map(([key, entries]) => ({
          key,
          entries: entries.map(([id, fields]) => ({ id, fields })),
        }));
      } catch (error) {
        // A read may be repeated wherever the keys are now.
        const elsewhere = wordOf(error) === 'MOVED' || (client === this.#left && !this.#closed);
        if (!elsewhere || redirections >= MAX_REDIRECTIONS) throw error;
      }
    }
  }

  async confirm(replicas: number): Promise<void> {
    const client = this.#readFrom;
    if (!client || client !== this.#client) throw new RedisUnreachableError('the connection broke after the read');
    // A WAIT right after a woken read would return at once: it counts from a command that came later.
    const [, acked] = await this.#send(client, [['PING'], ['WAIT', replicas, WAIT_MS]], WAIT_MS, GRACE_MS);
    const failed = acked instanceof Error ? acked : missing(acked, replicas);
    if (failed) throw failed;
  }

  /**
   * Sends the commands in one write, once: whether one whose answer did not come was executed is unknown. All must be of
   * keys that one server has. A result each, an Error is that command's own. Rejects when there is no connection, or no
   * answer within `waitsMs` and as long as ioredis' own commands may take.
   */
  async pipeline(commands: readonly Command[], waitsMs = 0): Promise<unknown[]> {
    for (let redirections = 0; ; redirections++) {
      const client = this.#ready ?? (await this.open());
      const replies = await this.#send(client, commands, waitsMs, COMMAND_TIMEOUT_MS);
      // The keys are elsewhere now: nothing was executed.
      if (wordOf(replies[0]) !== 'MOVED' || redirections >= MAX_REDIRECTIONS) return replies;
    }
  }

  /** `atOnceMs`: how long a server that is well takes. */
  #send(client: Redis, commands: readonly Command[], atOnceMs: number, graceMs: number): Promise<unknown[]> {
    if (this.#wire?.client !== client) {
      // A server that stands still fails nothing before its time is up, and may have been replaced by then.
      this.#wire = { client, wire: new Wire(client, () => this.#dialer.lookAgain()) };
    }
    return this.#wire.wire.request(commands, { lateMs: atOnceMs + LATE_MS, withinMs: atOnceMs + graceMs }).then(
      (replies) => {
        let gone = false;
        for (const reply of replies) {
          if (!(reply instanceof Error)) continue;
          const word = wordOf(reply);
          if (word === 'MOVED') this.#moved = reply.message.split(' ', 3)[2];
          // UNBLOCKED, READONLY: the server became a replica. It would answer the next read, but lag behind.
          gone ||= word === 'MOVED' || word === 'UNBLOCKED' || word === 'READONLY';
        }
        if (gone) this.#drop(client);
        return replies;
      },
      (error) => {
        this.#drop(client);
        throw error;
      },
    );
  }

  get #ready(): Redis | undefined {
    return this.#client?.status === 'ready' && !this.#closed ? this.#client : undefined;
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
      await this.#pause(Math.min(50 * 2 ** (this.#failures - 1), MAX_BACKOFF_MS) * (0.5 + Math.random() / 2));
    }
    const moved = this.#moved;
    this.#moved = undefined;
    let cause: unknown;
    let client: Redis | undefined;
    try {
      client = this.#dialing = this.#dialer.dial(moved);
      client.on('error', (error) => {
        cause = error;
      });
      await withTimeout(client.connect(), CONNECT_TIMEOUT_MS, 'no connection to Redis');
    } catch (error) {
      client?.disconnect();
      // Whoever waits for it waits for the other server: repeated calls would come back later than that.
      if (client && client === this.#left && !this.#closed) return await this.#connect();
      this.#failures++;
      this.#dialer.lookAgain();
      throw new RedisUnreachableError(`no connection for a blocking read: ${messageOf(cause ?? error)}`, {
        cause: cause ?? error,
      });
    } finally {
      this.#dialing = undefined;
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

  async #pause(ms: number): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const timer = new AbortController();
    await Promise.race([woken, sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
    this.#wake = undefined;
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

/** The first word of a reply that is an error. */
function wordOf(error: unknown): string | undefined {
  return error instanceof Error ? error.message.split(' ', 1)[0] : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
