/**
 * A partition's queue of wake-ups, `push:{u}`: a stream with one consumer group. Order does not matter here, so entries
 * are acknowledged one by one; what a worker has read and not finished when it dies stays pending, and is claimed by
 * whoever has the partition next.
 */
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { Wakeup } from '../../lib/redis/push-verbs.ts';

const GROUP = 'pusher';
/** Pending for longer than this with nobody's sign of life: its worker is dead. */
const ABANDONED_MS = 15_000;
const CLAIM_COUNT = 200;
const OWN_COUNT = 500;
const DEAD_ENTRIES = 10_000;

export interface Queued {
  partition: number;
  id: string;
  wakeup: Wakeup;
}

export interface DeadPush {
  wakeup: Wakeup;
  reason: string;
}

type Entry = [id: string, fields: string[] | null];

export class PushQueue {
  readonly #store: RedisStore;
  readonly #keys: Keyspace;
  readonly #consumer: string;
  /** Where the next claim goes on, by partition. */
  readonly #claimed = new Map<number, string>();

  constructor(store: RedisStore, keys: Keyspace, consumer: string) {
    this.#store = store;
    this.#keys = keys;
    this.#consumer = consumer;
  }

  /** Makes the group when it is not there, from the queue's very beginning. */
  async open(partition: number): Promise<void> {
    try {
      await this.#store.command.xgroup('CREATE', this.#keys.push(partition), GROUP, '0', 'MKSTREAM');
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('BUSYGROUP')) throw error;
    }
  }

  /**
   * What this very process has read and not finished: when it lost the partition with the store itself, and could hand
   * nothing back, it need not wait until it looks dead. Repeats what it is still at.
   */
  async own(partition: number): Promise<Queued[]> {
    const key = this.#keys.push(partition);
    const found: Queued[] = [];
    for (let after = '0'; ; ) {
      const from = ['GROUP', GROUP, this.#consumer, 'COUNT', OWN_COUNT, 'STREAMS', key, after] as const;
      const reply = (await this.#store.command.xreadgroup(...from)) as [string, Entry[]][] | null;
      const entries = reply?.[0]?.[1] ?? [];
      found.push(...parse(partition, entries));
      if (entries.length < OWN_COUNT) return found;
      after = entries.at(-1)![0];
    }
  }

  /** New entries of partitions that one command may read. */
  async read(partitions: readonly number[], count: number): Promise<Queued[]> {
    const byKey = new Map(partitions.map((p) => [this.#keys.push(p), p]));
    const ids = partitions.map(() => '>');
    const streams = [...byKey.keys(), ...ids];
    const reply = await this.#store.command.xreadgroup(
      'GROUP',
      GROUP,
      this.#consumer,
      'COUNT',
      count,
      'STREAMS',
      ...streams,
    );
    const batches = (reply ?? []) as [string, Entry[]][];
    return batches.flatMap(([key, entries]) => parse(byKey.get(key) ?? 0, entries));
  }

  /** What others have read and not finished; also, again and again, what we are still at. */
  async claim(partition: number): Promise<Queued[]> {
    const key = this.#keys.push(partition);
    const from = this.#claimed.get(partition) ?? '0-0';
    const [next, entries] = (await this.#store.command.xautoclaim(
      key,
      GROUP,
      this.#consumer,
      ABANDONED_MS,
      from,
      'COUNT',
      CLAIM_COUNT,
    )) as [string, Entry[]];
    this.#claimed.set(partition, next);
    return parse(partition, entries);
  }

  /** Finished, in one step with the dead letters that came of it. All of one partition. */
  async finish(partition: number, ids: readonly string[], dead: readonly DeadPush[]): Promise<void> {
    const key = this.#keys.push(partition);
    const multi = this.#store.command.multi();
    for (const letter of dead) {
      multi.xadd(
        this.#keys.dead(partition),
        'MAXLEN',
        '~',
        DEAD_ENTRIES,
        '*',
        'kind',
        'push',
        'reason',
        letter.reason,
        ...fieldsOf(letter.wakeup),
      );
    }
    if (ids.length > 0) multi.xack(key, GROUP, ...ids).xdel(key, ...ids);
    for (const [error] of (await multi.exec()) ?? []) if (error) throw error;
  }

  /** Unfinished entries for the next worker, at once: as if they had been left alone for an hour. */
  async handBack(partition: number, ids: readonly string[]): Promise<void> {
    this.#claimed.delete(partition);
    if (ids.length === 0) return;
    // The typed method has no form with these options; nobody reads the reply.
    const idle = ['IDLE', '3600000', 'JUSTID'];
    await this.#store.command.call('XCLAIM', this.#keys.push(partition), GROUP, this.#consumer, '0', ...ids, ...idle);
  }

  /** Forgets consumers of long ago: each start of a worker is a new one. */
  async tidy(partition: number): Promise<void> {
    const key = this.#keys.push(partition);
    const consumers = (await this.#store.command.xinfo('CONSUMERS', key, GROUP)) as unknown[];
    for (const consumer of consumers) {
      const { name, pending, idle } = record(consumer);
      if (name !== this.#consumer && Number(pending) === 0 && Number(idle) > 3_600_000) {
        await this.#store.command.xgroup('DELCONSUMER', key, GROUP, String(name));
      }
    }
  }

  /** How many wake-ups wait, and since when the oldest does. */
  async length(partition: number): Promise<{ entries: number; oldestId: string | undefined }> {
    const key = this.#keys.push(partition);
    const [entries, oldest] = await Promise.all([
      this.#store.command.xlen(key),
      this.#store.command.xrange(key, '-', '+', 'COUNT', 1),
    ]);
    return { entries, oldestId: oldest[0]?.[0] };
  }
}

/** A flat list or an object, as the protocol version has it. */
function record(value: unknown): Record<string, unknown> {
  if (!Array.isArray(value)) return value as Record<string, unknown>;
  return Object.fromEntries(Array.from({ length: value.length / 2 }, (_, i) => [value[2 * i], value[2 * i + 1]]));
}

/** Entries that were deleted while pending come without fields. */
function parse(partition: number, entries: readonly Entry[]): Queued[] {
  return entries.flatMap(([id, fields]) => (fields ? [{ partition, id, wakeup: wakeupOf(fields) }] : []));
}

export function wakeupOf(fields: readonly string[]): Wakeup {
  const at = (name: string): string => {
    for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1] ?? '';
    return '';
  };
  return {
    user: at('user'),
    devices: at('devices')
      .split(' ')
      .filter((device) => device !== ''),
    sender: at('sender'),
    senderName: at('sender_name'),
    channel: at('channel'),
    seq: at('seq'),
    id: at('id'),
    snippet: at('snippet'),
    offset: at('offset') || '0-0',
    count: Number(at('count')) || 1,
    after: at('after'),
    session: at('session'),
  };
}

export function fieldsOf(w: Wakeup): string[] {
  const head = ['user', w.user, 'devices', w.devices.join(' '), 'sender', w.sender, 'sender_name', w.senderName];
  const message = ['channel', w.channel, 'seq', w.seq, 'id', w.id, 'snippet', w.snippet];
  return [...head, ...message, 'offset', w.offset, 'count', String(w.count), 'after', w.after, 'session', w.session];
}
