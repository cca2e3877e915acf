/**
 * Fan-out: follows the logs of the partitions that it holds and turns each entry into one inbox entry per recipient.
 *
 * Owns, per source partition, one `Pair` for every target partition. Invariant: an entry that was read is in a pair's
 * queue, or at or below the pair's `after`, or the pair is catching up from its `after`. The role's position in the source
 * is the lowest `after` of the pairs that are not idle, so the log keeps whatever a target might still need.
 */
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import { backOff, type LogBatch } from '../../lib/redis/follow.ts';
import { compareIds, minId, ZERO } from '../../lib/redis/ids.ts';
import type { Verbs } from '../../lib/redis/verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';
import { type LogEvent, parseEvent } from './event.ts';
import { Pair } from './pair.ts';
import { type ByTarget, Recipients } from './recipients.ts';
import { Sender } from './sender.ts';

export interface WorkerOptions {
  store: RedisStore;
  keys: Keyspace;
  verbs: Verbs;
  metrics: Metrics;
  logger: Logger;
}

interface Source {
  pairs: Pair[];
  readTo: string;
}

/** Entries read at a time by a pair that catches up. */
const CATCH_UP_COUNT = 200;
/** A round goes on without a slow target after this; the target's queue is bounded. */
const ROUND_MS = 100;
/** A quiet target's cursor is moved by an empty batch after this (design, rule 1). */
const QUIET_MS = 60_000;

export class FanoutWorker {
  readonly #o: WorkerOptions;
  readonly #recipients: Recipients;
  readonly #sources = new Map<number, Source>();
  readonly #senders: Sender[];
  readonly #senderOf = new Map<number, Sender>();
  #stopped = false;

  constructor(options: WorkerOptions) {
    this.#o = options;
    this.#recipients = new Recipients(options.store, options.keys);
    const all = Array.from({ length: options.keys.partitions }, (_, p) => p);
    this.#senders = options.store.groups(all).map((group) => {
      const sender = new Sender({
        ...options,
        readTo: (source) => this.#sources.get(source)?.readTo ?? ZERO,
        onBehind: (pair) => this.#behind(pair),
      });
      for (const target of group) this.#senderOf.set(target, sender);
      return sender;
    });
  }

  /** Takes a source partition over, from the targets' own cursors. Returns where to read its log from. */
  async gain(source: number): Promise<string> {
    const { keys } = this.#o;
    const cursors = await this.#cursors(String(source));
    const pairs = cursors.map((cursor, target) => new Pair(source, target, cursor));
    const readTo = pairs.map((p) => p.after).reduce(minId);
    this.#sources.set(source, { pairs, readTo });
    const trimmed = await this.#o.store.command.hget(keys.positions(source), 'trimmed');
    for (const pair of pairs) if (trimmed && compareIds(pair.after, trimmed) < 0) pair.floor = true;
    return readTo;
  }

  lose(source: number): void {
    for (const pair of this.#sources.get(source)?.pairs ?? []) this.#senderOf.get(pair.target)!.remove(pair);
    this.#sources.delete(source);
  }

  async handle(batches: LogBatch[]): Promise<void> {
    const senders = new Set<Sender>();
    for (const { partition, entries } of batches) {
      const source = this.#sources.get(partition);
      if (!source) continue;
      for (const entry of entries) {
        if (compareIds(entry.id, source.readTo) <= 0) continue;
        const event = parseEvent(entry);
        if ('error' in event) await this.#setAside(partition, entry.id, entry.fields, event.error);
        else await this.#enqueue(source, event, senders);
        source.readTo = entry.id;
      }
    }
    if (senders.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const bound = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ROUND_MS);
    });
    await Promise.race([Promise.all([...senders].map((s) => s.drain())), bound]);
    clearTimeout(timer);
  }

  async #enqueue(source: Source, event: LogEvent, senders: Set<Sender>): Promise<void> {
    const found = this.#recipients.of(event);
    const targets: ByTarget = found instanceof Promise ? await found : found;
    // In one step with the pushes: a pair that catches up drops them, and must see that the source was read further.
    source.readTo = event.logId;
    for (const [target, recipients] of targets) {
      const pair = source.pairs[target]!;
      const sender = this.#senderOf.get(target)!;
      if (!pair.push({ logId: event.logId, via: event.via, fields: event.fields, recipients })) {
        sender.remove(pair);
        pair.rewind(pair.after);
        this.#behind(pair);
      } else if (pair.queued > 0) {
        sender.enqueue(pair);
        senders.add(sender);
      }
    }
  }

  async #setAside(source: number, id: string, fields: string[], reason: string): Promise<void> {
    const key = this.#o.keys.dead(source);
    await this.#o.store.command.xadd(key, 'MAXLEN', '~', 10_000, '*', 'log_id', id, 'reason', reason, ...fields);
    this.#o.metrics.deadLetters.of('fanout').inc();
    this.#o.logger.error({ source, logId: id, reason }, 'a log entry cannot be read and was set aside');
  }

  #behind(pair: Pair): void {
    this.#o.metrics.rewinds.inc();
    this.#o.logger.warn(
      { source: pair.source, target: pair.target, from: pair.after },
      'target is behind: filling it from the log',
    );
    void this.#catchUp(pair);
  }

  /** Fills one pair from the log, beside the live reading, until it has everything that the live reading has seen. */
  async #catchUp(pair: Pair): Promise<void> {
    const { store, keys } = this.#o;
    for (let failures = 0; this.#holds(pair); ) {
      try {
        const trimmed = await store.command.hget(keys.positions(pair.source), 'trimmed');
        if (trimmed && compareIds(pair.after, trimmed) < 0) pair.floor = true;
        const readToBefore = this.#sources.get(pair.source)?.readTo;
        const entries = await store.command.xrange(
          keys.log(pair.source),
          `(${pair.after}`,
          '+',
          'COUNT',
          CATCH_UP_COUNT,
        );
        const source = this.#sources.get(pair.source);
        if (!source || !this.#holds(pair)) return;
        if (entries.length === 0 && !pair.floor && source.readTo === readToBefore) {
          // What had been read before this look at the log's end is delivered; what is read later is queued again.
          pair.catchingUp = false;
          return;
        }
        const deliveries = [];
        for (const [id, fields] of entries) {
          const event = parseEvent({ id, fields });
          if ('error' in event) continue;
          const recipients = (await this.#recipients.of(event)).get(pair.target);
          if (recipients) deliveries.push({ logId: id, via: event.via, fields: event.fields, recipients });
        }
        await this.#sendCatchUp(pair, deliveries, entries.at(-1)?.[0] ?? pair.after);
        failures = 0;
      } catch (error) {
        this.#o.metrics.retries.of('catch_up').inc();
        this.#o.logger.warn(
          { err: error, source: pair.source, target: pair.target },
          'filling a target failed, trying again',
        );
        await backOff(failures++);
      }
    }
  }

  async #sendCatchUp(pair: Pair, deliveries: Parameters<Pair['push']>[0][], last: string): Promise<void> {
    const chunks = [];
    for (let i = 0; i < deliveries.length; i += 16) chunks.push(deliveries.slice(i, i + 16));
    if (chunks.length === 0) chunks.push([]);
    for (const [i, chunk] of chunks.entries()) {
      const to = i === chunks.length - 1 ? last : chunk.at(-1)!.logId;
      const { source, target, after, floor } = pair;
      const { replies } = await this.#o.verbs.deliver([{ source, target, after, last: to, floor, deliveries: chunk }]);
      const reply = replies[0]!;
      if (reply.status === 'behind') return pair.rewind(reply.cursor);
      pair.moved(reply.cursor);
      if (reply.status === 'aborted') throw new Error(`delivery aborted: ${reply.error}`);
    }
  }

  #holds(pair: Pair): boolean {
    return !this.#stopped && this.#sources.get(pair.source)?.pairs[pair.target] === pair;
  }

  /** Reads every target's cursors: notices one that was put back, and moves those that have been quiet. Every 2 s. */
  async check(): Promise<void> {
    const pairs = [...this.#sources.values()].flatMap((s) => s.pairs);
    const before = new Map(pairs.map((pair) => [pair, pair.after]));
    const perTarget = await Promise.allSettled(
      Array.from({ length: this.#o.keys.partitions }, (_, t) => this.#o.store.command.hgetall(this.#o.keys.cursor(t))),
    );
    for (const pair of pairs) {
      const result = perTarget[pair.target]!;
      // A call in flight finds out by itself; a catch-up is under way already.
      if (result.status === 'rejected' || pair.inFlight || pair.catchingUp || !this.#holds(pair)) continue;
      const cursor = result.value[String(pair.source)] ?? ZERO;
      if (compareIds(cursor, before.get(pair)!) < 0) {
        this.#senderOf.get(pair.target)!.remove(pair);
        pair.rewind(cursor);
        this.#behind(pair);
      } else if (pair.idle && performance.now() - pair.touchedAt > QUIET_MS) {
        this.#senderOf.get(pair.target)!.enqueue(pair);
      }
    }
    for (const sender of this.#senders) void sender.drain();
  }

  /** Everything at or below it is delivered to every target. */
  position(source: number): string | undefined {
    const state = this.#sources.get(source);
    return state?.pairs.map((p) => (p.idle ? state.readTo : p.after)).reduce(minId);
  }

  get queued(): ReadonlyMap<number, number> {
    return new Map([...this.#sources].map(([s, { pairs }]) => [s, pairs.reduce((sum, p) => sum + p.queued, 0)]));
  }

  /** Everything that was read is delivered, as far as the targets answer. */
  async settle(timeoutMs: number): Promise<void> {
    for (const source of this.#sources.values()) {
      for (const pair of source.pairs) if (!pair.catchingUp) this.#senderOf.get(pair.target)!.enqueue(pair);
    }
    const done = Promise.all(this.#senders.map((s) => s.drain()));
    const late = new Promise((resolve) => setTimeout(resolve, timeoutMs).unref());
    await Promise.race([done, late]);
  }

  stop(): void {
    this.#stopped = true;
    for (const sender of this.#senders) sender.stop();
  }

  async #cursors(source: string): Promise<string[]> {
    const { store, keys } = this.#o;
    return Promise.all(
      Array.from(
        { length: keys.partitions },
        async (_, t) => (await store.command.hget(keys.cursor(t), source)) ?? ZERO,
      ),
    );
  }
}
