/**
 * Who receives an event is a function of the event (design, rule 4): those whose membership interval holds its seq. Any
 * snapshot of the members gives the same answer, provided it is at least as new as the entry's `mv`; an older one in the
 * cache is read again.
 */
import { LRUCache } from 'lru-cache';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { LogEvent } from './event.ts';

/** Recipients by target partition. */
export type ByTarget = ReadonlyMap<number, readonly string[]>;

interface Interval {
  joined: number;
  /** Infinity while a member. */
  left: number;
}

interface Snapshot {
  version: number;
  users: { user: string; intervals: Interval[] }[];
  /** From this seq on the recipients are exactly the present members. */
  settledFrom: number;
  present: ByTarget;
}

export class Recipients {
  readonly #store: RedisStore;
  readonly #keys: Keyspace;
  readonly #groups = new LRUCache<string, Snapshot>({ max: 10_000 });

  constructor(store: RedisStore, keys: Keyspace) {
    this.#store = store;
    this.#keys = keys;
  }

  /** Without a promise when the cache answers: the common case costs no turn of the event loop. */
  of(event: LogEvent): ByTarget | Promise<ByTarget> {
    if (event.channel.startsWith('dm:')) {
      const [, a = '', b = ''] = event.channel.split(':');
      return this.#group(a === b ? [a] : [a, b]);
    }
    if (event.members) return this.#group(event.members);
    const cached = this.#groups.get(event.channel);
    if (cached && cached.version >= event.membersVersion) return this.#select(cached, event.seq);
    return this.#read(event.channel).then((snapshot) => this.#select(snapshot, event.seq));
  }

  forget(): void {
    this.#groups.clear();
  }

  async #read(channel: string): Promise<Snapshot> {
    // The version first: the members read after it are at least as new.
    const version = await this.#store.command.hget(this.#keys.channel(channel), 'members_version');
    const members = await this.#store.command.hgetall(this.#keys.members(channel));
    const users = Object.entries(members).map(([user, value]) => ({ user, intervals: parseIntervals(value) }));
    const present = users.filter((u) => u.intervals.at(-1)?.left === Number.POSITIVE_INFINITY);
    const settledFrom = Math.max(
      0,
      ...users.flatMap((u) => u.intervals.map((i) => (i.left === Number.POSITIVE_INFINITY ? i.joined : i.left + 1))),
    );
    const snapshot = {
      version: Number(version ?? 0),
      users,
      settledFrom,
      present: this.#group(present.map((u) => u.user)),
    };
    this.#groups.set(channel, snapshot);
    return snapshot;
  }

  #select(snapshot: Snapshot, seq: number): ByTarget {
    if (seq >= snapshot.settledFrom) return snapshot.present;
    const holds = (i: Interval) => i.joined <= seq && seq <= i.left;
    return this.#group(snapshot.users.filter((u) => u.intervals.some(holds)).map((u) => u.user));
  }

  #group(users: readonly string[]): ByTarget {
    const targets = new Map<number, string[]>();
    for (const user of users) {
      const target = this.#keys.partitionOf(user);
      const list = targets.get(target);
      if (list) list.push(user);
      else targets.set(target, [user]);
    }
    return targets;
  }
}

/** `admin 1-5,9-` → [{1, 5}, {9, ∞}]. */
function parseIntervals(value: string): Interval[] {
  return value
    .slice(value.indexOf(' ') + 1)
    .split(',')
    .map((text) => {
      const [joined, left] = text.split('-');
      return { joined: Number(joined), left: left ? Number(left) : Number.POSITIVE_INFINITY };
    });
}
