/**
 * Follows the logs of the partitions that a worker holds: one loop per lane, and a lane spans all the partitions that one
 * command may read (all of them on a standalone server, one in a cluster).
 *
 * A wake costs Redis and Node more than an entry does (design §5): so a lane blocks when quiet, reads again at once when a
 * read came back full, and otherwise pauses while busy. It never pauses after a lone entry that came after a silence.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../telemetry/logger.ts';
import type { BlockingConnection, StreamEntry } from './blocking.ts';
import type { RedisStore } from './connect.ts';
import { ZERO } from './ids.ts';

export interface LogBatch {
  partition: number;
  entries: StreamEntry[];
}

export interface FollowOptions {
  store: RedisStore;
  partitions: number;
  logKey(partition: number): string;
  logger: Logger;
  /** Most entries per partition and read. */
  count: number;
  /**
   * Most entries per partition and round; `count` by default. A full read is then continued by others of `count`: a
   * backlog comes in large batches, and no single command holds Redis for long.
   */
  roundCount?: number;
  /** From a busy read that brought so many entries to the next, unless handling them takes longer. */
  intervalMs(entries: number): number;
  /** What fewer replicas have is read again, and not handled (design, rule 3). */
  replicas: number;
  /** Must settle; a rejection repeats the same batches after a back-off. */
  handle(batches: LogBatch[]): Promise<void>;
  /** After each round, also an empty or a failed one: never called while a read or a batch does not settle. */
  onRound(): void;
  onRetry(): void;
  /** The logs are read on a new connection, perhaps of another server, which may have lost a tail. */
  onReconnect?(): void;
}

const BLOCK_MS = 500;

export class LogFollower {
  readonly #o: FollowOptions;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes that have nothing left to read, but perhaps a batch under way. */
  readonly #ending = new Set<Promise<void>>();

  constructor(options: FollowOptions) {
    this.#o = options;
  }

  /** Starts to follow a partition's log after an id. */
  add(partition: number, after: string): void {
    const name = this.#laneOf(partition);
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = new Lane(this.#o, partition);
      this.#lanes.set(name, lane);
    }
    lane.positions.set(partition, { after });
    lane.start();
  }

  /**
   * Resolves when nothing of the partition is being handled any more: a batch that fails is repeated without it. What is
   * under way then is waited for at most `patienceMs`.
   */
  async remove(partition: number, patienceMs = 60_000): Promise<void> {
    const lane = this.#lanes.get(this.#laneOf(partition));
    if (!lane) return;
    lane.positions.delete(partition);
    const late = new AbortController();
    const patience = sleep(patienceMs, undefined, { signal: late.signal }).catch(() => undefined);
    await Promise.race([lane.attempt.catch(() => undefined), patience]);
    late.abort();
    if (lane.positions.size === 0) {
      this.#lanes.delete(this.#laneOf(partition));
      const ending = lane.stop();
      this.#ending.add(ending);
      void ending.then(() => this.#ending.delete(ending));
    }
  }

  /** The id up to which the partition's entries have been read and handled. */
  position(partition: number): string | undefined {
    return this.#lanes.get(this.#laneOf(partition))?.positions.get(partition)?.after;
  }

  async stop(): Promise<void> {
    const ending = [...this.#lanes.values()].map((lane) => lane.stop());
    this.#lanes.clear();
    await Promise.all([...ending, ...this.#ending]);
  }

  #laneOf(partition: number): string {
    return this.#o.store.kind === 'cluster' ? `partition ${partition}` : 'all';
  }
}

/** Where the reading of a partition stands: another object each time that it is added. */
interface Position {
  after: string;
}

interface HeldBatch extends LogBatch {
  position: Position;
}

class Lane {
  readonly positions = new Map<number, Position>();
  /** What is handled at the moment: one try at it. */
  attempt: Promise<void> = Promise.resolve();
  readonly #o: FollowOptions;
  readonly #home: number;
  #loop: Promise<void> | undefined;
  #stopping = false;
  #connection: BlockingConnection | undefined;

  constructor(options: FollowOptions, home: number) {
    this.#o = options;
    this.#home = home;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#connection?.close();
    await this.#loop;
  }

  async #connect(): Promise<BlockingConnection> {
    const connection = await this.#o.store.blocking(this.#home, this.#o.partitions);
    connection.onReconnect(() => this.#o.onReconnect?.());
    return connection;
  }

  async #run(): Promise<void> {
    let failures = 0;
    let busyUntil = 0;
    while (!this.#stopping) {
      try {
        this.#connection ??= await this.#connect();
        const asked = new Map(this.positions);
        const streams = [...asked].map(([p, { after }]) => ({ key: this.#o.logKey(p), after }));
        if (streams.length === 0) {
          await sleep(20);
          continue;
        }
        const partitionByKey = new Map([...asked.keys()].map((p) => [this.#o.logKey(p), p]));
        const batches = await this.#connection.xread(streams, { count: this.#o.count, blockMs: BLOCK_MS });
        const readAt = performance.now();
        failures = 0;
        const read: HeldBatch[] = [];
        let total = 0;
        let full = false;
        for (const { key, entries } of batches) {
          const partition = partitionByKey.get(key);
          const position = partition === undefined ? undefined : asked.get(partition);
          if (partition === undefined || position === undefined) continue;
          read.push({ partition, entries, position });
          total += entries.length;
          full ||= entries.length >= this.#o.count;
        }
        if (full) await this.#readOn(this.#connection, read);
        if (read.length > 0 && this.#o.replicas > 0) await this.#connection.confirm(this.#o.replicas);
        const held = read.filter((batch) => this.#isNext(batch));
        if (held.length > 0) {
          await this.#handle(held);
        }
        this.#o.onRound();
        const now = performance.now();
        const busy = total > 1 || now < busyUntil;
        if (total > 0) busyUntil = now + 20;
        const left = this.#o.intervalMs(total) - (now - readAt);
        if (total > 0 && busy && !full && left > 0) await sleep(left);
      } catch (error) {
        if (this.#stopping) return;
        this.#o.onRetry();
        this.#o.onRound(); // the loop lives, and says what is wrong: not the silence that leases watch for
        this.#o.logger.warn(
          { err: error, partitions: [...this.positions.keys()] },
          'reading the log failed, trying again',
        );
        await backOff(failures++);
      }
    }
  }

  async #readOn(connection: BlockingConnection, batches: LogBatch[]): Promise<void> {
    const { logKey, count, roundCount = count } = this.#o;
    for (const { partition, entries } of batches) {
      for (let last = count; last === count && entries.length >= count && entries.length < roundCount; ) {
        const from = [{ key: logKey(partition), after: entries.at(-1)?.id ?? ZERO }];
        const [more] = await connection.xread(from, { count, readOn: true });
        entries.push(...(more?.entries ?? []));
        last = more?.entries.length ?? 0;
      }
    }
  }

  /** Not when it was removed meanwhile, or removed and added again, perhaps from another place. */
  #isNext({ partition, position }: HeldBatch): boolean {
    return this.positions.get(partition) === position;
  }

  /** Repeats until handled: an entry that was read is never skipped. */
  async #handle(batches: HeldBatch[]): Promise<void> {
    for (let failures = 0; !this.#stopping; failures++) {
      try {
        const held = batches.filter((batch) => this.#isNext(batch));
        if (held.length === 0) return;
        this.attempt = this.#o.handle(held);
        await this.attempt;
        for (const { entries, position } of held) position.after = entries.at(-1)?.id ?? position.after;
        return;
      } catch (error) {
        this.#o.onRetry();
        this.#o.onRound(); // the loop lives, and says what is wrong: not the silence that leases watch for
        this.#o.logger.warn(
          { err: error, partitions: batches.map((b) => b.partition) },
          'handling the log failed, trying again',
        );
        await backOff(failures);
      }
    }
  }
}

/** Full jitter, 20 ms to a quarter of a second: after a failover, several such loops wait one behind the other. */
export function backOff(failures: number): Promise<void> {
  return sleep(20 + Math.random() * Math.min(250, 50 * 2 ** failures));
}
