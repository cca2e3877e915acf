/**
 * Fan-out: follows the logs of the partitions that it holds and turns each entry into one inbox entry per recipient.
 *
 * Owns, per source partition, one `Pair` for every target partition. Invariant: an entry that was read is in a pair's
 * queue, or at or below the pair's `after`, or the pair is catching up from its `after`. The role's position in the source
 * is the lowest `after` of the pairs that are not idle, so the log keeps whatever a target might still need.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { StreamEntry } from '../../lib/redis/blocking.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { Delivery, Lost } from '../../lib/redis/delivery.ts';
import { backOff, type LogBatch } from '../../lib/redis/follow.ts';
import { compareIds, maxId, minId, ZERO } from '../../lib/redis/ids.ts';
import type { ScriptLanes } from '../../lib/redis/script-lane.ts';
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
  /** Where the log is read from: what too few replicas have is not delivered. */
  lanes: ScriptLanes;
  /** Messages to users whose push tokens may be lost. */
  onLost(lost: readonly Lost[]): void;
  metrics: Metrics;
  logger: Logger;
}

interface Source {
  pairs: Pair[];
  readTo: string;
}

/** Entries read at a time by a pair that catches up. */
const CATCH_UP_COUNT = 200;
const ENTRIES_PER_CATCH_UP_CALL = 16;
/** A round goes on without a slow target after this, and the next ones at once; the target's queue is bounded. */
const ROUND_MS = 100;
/** A source that is taken over waits so long for its targets' cursors. */
const CURSORS_WITHIN_MS = 500;
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

  /**
   * Takes a source partition over, from the targets' own cursors. Returns where to read its log from. A target that does
   * not answer keeps none of the others waiting: it is filled from the log when it does.
   */
  async gain(source: number): Promise<string> {
    const { store, keys } = this.#o;
    const trimmed = await store.command.hget(keys.positions(source), 'trimmed');
    const asked = Array.from({ length: keys.partitions }, (_, target) => this.#cursor(source, target));
    const cursors: string[] = [];
    const reading = asked.map(async (cursor, target) => {
      cursors[target] = await cursor;
    });
    const some = Promise.any(reading).catch(() => undefined);
    await Promise.race([Promise.allSettled(reading), Promise.all([some, sleep(CURSORS_WITHIN_MS)])]);
    const known = cursors.filter((cursor) => cursor !== undefined);
    if (known.length === 0) await Promise.all(reading);
    const pairs = asked.map((_, target) => new Pair(source, target, cursors[target] ?? ZERO));
    const readTo = known.reduce(minId);
    this.lose(source);
    this.#sources.set(source, { pairs, readTo });
    for (const [target, pair] of pairs.entries()) {
      if (cursors[target] === undefined) {
        pair.rewind(pair.after);
        void this.#fillLater(pair, asked[target]!);
      } else if (trimmed && compareIds(pair.after, trimmed) < 0) {
        pair.rewind(pair.after);
        this.#behind(pair);
      }
    }
    return readTo;
  }

  async #cursor(source: number, target: number): Promise<string> {
    const { store, keys } = this.#o;
    return (await store.command.hget(keys.cursor(target), String(source))) ?? ZERO;
  }

  /** From the target's cursor, once that is known. */
  async #fillLater(pair: Pair, asked: Promise<string>): Promise<void> {
    for (let failures = 0; this.#holds(pair); failures++) {
      try {
        const cursor = await (failures === 0 ? asked : this.#cursor(pair.source, pair.target));
        if (!this.#holds(pair)) return;
        pair.rewind(cursor);
        this.#behind(pair);
        return;
      } catch {
        this.#o.metrics.retries.of('catch_up').inc();
        await backOff(failures);
      }
    }
  }

  lose(source: number): void {
    for (const pair of this.#sources.get(source)?.pairs ?? []) {
      pair.lost = true;
      this.#senderOf.get(pair.target)!.remove(pair);
    }
    this.#sources.delete(source);
  }

  async handle(batches: LogBatch[]): Promise<void> {
    await this.#findHoles(batches);
    const senders = new Set<Sender>();
    for (const { partition, entries } of batches) {
      const source = this.#sources.get(partition);
      if (!source) continue;
      for (const entry of entries) {
        if (compareIds(entry.id, source.readTo) <= 0) continue;
        const event = parseEvent(entry);
        if ('error' in event) await this.#setAside(partition, entry, event.error);
        else {
          try {
            await this.#enqueue(source, event, senders);
          } catch (error) {
            if (!isBroken(error)) throw error;
            await this.#setAside(partition, entry, `members of ${event.channel}: ${(error as Error).message}`);
          }
        }
        source.readTo = entry.id;
      }
    }
    if (senders.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    let late = false;
    const bound = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        late = true;
        resolve();
      }, ROUND_MS);
    });
    const drained = [...senders].map((sender) => (sender.late ? void sender.drain() : sender.drain()));
    await Promise.race([Promise.all(drained), bound]);
    clearTimeout(timer);
    for (const sender of senders) sender.late ||= late && sender.draining;
  }

  /**
   * What another worker, to whom the lease went meanwhile, had trimmed before it was read here is no part of what was read:
   * a target that was put back to before it would take the rest as all there is. Looked up after the read, so never too old.
   */
  async #findHoles(batches: LogBatch[]): Promise<void> {
    const { lanes, keys } = this.#o;
    const marks = (await Promise.all(
      batches.map((b) => lanes.hasty(b.partition).call(['HGET', keys.positions(b.partition), 'trimmed'])),
    )) as (string | null)[];
    for (const [i, { partition }] of batches.entries()) {
      const source = this.#sources.get(partition);
      const trimmed = marks[i];
      if (!source || !trimmed || compareIds(trimmed, source.readTo) <= 0) continue;
      for (const pair of source.pairs) {
        if (pair.catchingUp || compareIds(pair.after, trimmed) >= 0) continue;
        this.#senderOf.get(pair.target)!.remove(pair);
        pair.rewind(pair.after);
        this.#behind(pair);
      }
    }
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

  async #setAside(source: number, { id, fields }: StreamEntry, reason: string): Promise<void> {
    const key = this.#o.keys.dead(source);
    await this.#o.store.command.xadd(key, 'MAXLEN', '~', 10_000, '*', 'log_id', id, 'reason', reason, ...fields);
    this.#o.metrics.deadLetters.of('fanout').inc();
    this.#o.logger.error({ source, logId: id, reason }, 'a log entry cannot be delivered and was set aside');
  }

  #behind(pair: Pair): void {
    this.#o.metrics.rewinds.inc();
    this.#o.logger.warn(
      { source: pair.source, target: pair.target, from: pair.after },
      'target is behind: filling it from the log',
    );
    if (!pair.filling) void this.#catchUp(pair);
  }

  /**
   * Fills one pair from the log, beside the live reading, until it has everything that the live reading has seen. What is
   * sent says where this reading began, whatever the pair has learnt since: an older target refuses it.
   */
  async #catchUp(pair: Pair): Promise<void> {
    const { store, keys, lanes } = this.#o;
    pair.filling = true;
    for (let failures = 0; this.#holds(pair); ) {
      try {
        const from = pair.after;
        const readToBefore = this.#sources.get(pair.source)?.readTo;
        // With a floor, from the target's own cursor all the same: trimming is by whole nodes, some of it may be left.
        const command = ['XRANGE', keys.log(pair.source), `(${from}`, '+', 'COUNT', CATCH_UP_COUNT];
        const entries = (await lanes.lane(pair.source).call(command)) as [id: string, fields: string[]][];
        // In this order: what was trimmed before the read is known after it.
        const trimmed = await store.command.hget(keys.positions(pair.source), 'trimmed');
        // The log no longer holds all that the target lost: its readers are told by a floor, and it goes on from there.
        const floor = trimmed !== null && compareIds(from, trimmed) < 0;
        const start = floor ? trimmed : from;
        const source = this.#sources.get(pair.source);
        if (!source || !this.#holds(pair)) return;
        if (entries.length === 0 && !floor && source.readTo === readToBefore && pair.after === from) {
          // What had been read before this look at the log's end is delivered; what is read later is queued again.
          pair.catchingUp = false;
          pair.filling = false;
          return;
        }
        const deliveries = [];
        for (const [id, fields] of entries) {
          const event = parseEvent({ id, fields });
          if ('error' in event) continue;
          const recipients = await this.#recipientsAt(pair.target, event);
          if (recipients) deliveries.push({ logId: id, via: event.via, fields: event.fields, recipients });
        }
        const end = entries.at(-1)?.[0] ?? start;
        const last = entries.length < CATCH_UP_COUNT ? maxId(start, end) : end;
        await this.#sendCatchUp(pair, { start, floor, deliveries, last });
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

  /** None of a channel that is broken: the live reading has set its entries aside, or will. */
  async #recipientsAt(target: number, event: LogEvent): Promise<readonly string[] | undefined> {
    try {
      return (await this.#recipients.of(event)).get(target);
    } catch (error) {
      if (isBroken(error)) return undefined;
      throw error;
    }
  }

  async #sendCatchUp(
    pair: Pair,
    { start, floor, deliveries, last }: { start: string; floor: boolean; deliveries: Delivery[]; last: string },
  ): Promise<void> {
    const { source, target } = pair;
    let after = start;
    for (let i = 0; i === 0 || i < deliveries.length; i += ENTRIES_PER_CATCH_UP_CALL) {
      const some = deliveries.slice(i, i + ENTRIES_PER_CATCH_UP_CALL);
      const to = i + ENTRIES_PER_CATCH_UP_CALL >= deliveries.length ? last : (some.at(-1)?.logId ?? last);
      const block = { source, target, after, last: to, floor: floor && i === 0, deliveries: some };
      const { replies, lost } = await this.#o.verbs.deliver([block]);
      this.#o.onLost(lost);
      const [reply] = replies;
      if (reply?.status === 'behind') return pair.rewind(reply.cursor);
      if (reply) pair.moved(reply.cursor);
      if (reply?.status !== 'ok') throw new Error(`delivery aborted: ${reply?.error}`);
      after = to;
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

  /** Another primary may have lost the memberships that these lists know, and made others under the same versions. */
  forgetMembers(): void {
    this.#recipients.forget();
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
}

/** A channel whose own keys have the wrong type: time does not heal that, and nobody else must wait for it. */
function isBroken(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('WRONGTYPE');
}
