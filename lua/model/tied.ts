/**
 * The real scripts behind the model's calls: names for its numbers, ids for its ids, a Redis whose partitions can be put
 * back. The two clocks meet in `#windows`: each call has milliseconds of its own, and the model's tick for them.
 */
import type { Redis } from 'ioredis';
import { keyspace } from '../../lib/keyspace/index.ts';
import { type Block, deliverCall } from '../../lib/redis/delivery.ts';
import { RebuildVerbs } from '../../lib/redis/rebuild-verbs.ts';
import { ReceiptVerbs } from '../../lib/redis/receipt-verbs.ts';
import { BELL_ENTRIES, DORMANT_AFTER_MS, INBOX_TTL_MS, Verbs } from '../../lib/redis/verbs.ts';
import { born } from '../../ops/redis/born.ts';
import { DAY_MS, fieldsOf, nowMs, tick } from '../harness.ts';
import {
  CHANNELS,
  DEVICES,
  DIRECT,
  HOME_OF_CHANNEL,
  HOME_OF_USER,
  IDS_PER_TICK,
  INBOX_ENTRIES,
  KEEP_BEFORE_TRIM,
  NEVER,
  type Node,
  OWNER,
  PARTITIONS,
  USERS,
} from './state.ts';
import type { Call } from './store.ts';

const keys = keyspace(PARTITIONS);
const GATEWAY = 'gw1';
const DEVICE = ['phone', 'laptop'];
const DELIVERY_BEGINS = 14;
/** Of a log entry's fields, for the workers only. */
const INTERNAL = new Set(['prev', 'mv', 'via']);

function named(prefix: string, partition: number, idOf = (name: string) => name): string {
  for (let i = 0; ; i++) if (keys.partitionOf(idOf(`${prefix}${i}`)) === partition) return `${prefix}${i}`;
}
const [alice, carol] = [named('alice', HOME_OF_USER[0]!), named('carol', HOME_OF_USER[2]!)];
const bob = (() => {
  for (let i = 0; ; i++) {
    const name = `bob${i}`;
    const fits =
      keys.partitionOf(name) === HOME_OF_USER[1] && keys.partitionOf(`dm:${alice}:${name}`) === HOME_OF_CHANNEL[0];
    if (fits) return name;
  }
})();
const USER = [alice, bob, carol];
const CHANNEL = [`dm:${alice}:${bob}`, `g:${named('g', HOME_OF_CHANNEL[1]!, (name) => `g:${name}`)}`];

/** The scripts with bounds as small as the model's. */
class SmallVerbs extends Verbs {
  async deliverOne(block: Block): Promise<[status: string, cursor: string]> {
    const call = deliverCall(this.keys, [block]);
    const bounds = [INBOX_ENTRIES, INBOX_TTL_MS, DORMANT_AFTER_MS, BELL_ENTRIES];
    const [reply] = await this.run<[string, string][]>('deliver', call.keys, [...bounds, ...call.args]);
    return reply!;
  }

  async ackOne(user: string, device: string, offset: string): Promise<number> {
    const of = [this.keys.devices(user), this.keys.inbox(user)];
    const [raised = 0] = await this.run<number[]>('ack', of, [
      DORMANT_AFTER_MS,
      KEEP_BEFORE_TRIM,
      device,
      offset,
      'trim',
    ]);
    return raised;
  }
}

type ScriptCall = Exclude<Call, { verb: 'replicate' } | { verb: 'failover' } | { verb: 'week' }>;
type Snapshot = { key: string; ttl: number; value: Buffer }[];

export class Tied {
  /** A call may have seen the clock move. */
  blurred = false;
  readonly #redis: Redis;
  readonly #verbs: SmallVerbs;
  readonly #receipts: ReceiptVerbs;
  readonly #rebuild: RebuildVerbs;
  readonly #windows: { from: number; to: number; tick: number }[] = [];
  /** The model's id → Redis'. */
  readonly #ids = new Map<number, string>([[0, '0-0']]);
  /** The model's message → its log entry. */
  readonly #log = new Map<number, { id: string; fields: string[] }>();
  readonly #replicas: Snapshot[] = [];

  constructor(redis: Redis) {
    this.#redis = redis;
    this.#verbs = new SmallVerbs(redis, keys);
    this.#receipts = new ReceiptVerbs(redis, keys);
    this.#rebuild = new RebuildVerbs(redis, keys);
  }

  /** The partitions have not lost anything: see `born:{p}`. */
  begin(): Promise<void> {
    return born(this.#redis, keys);
  }

  /** Repeats one call, made at the model's `tick`; returns the reply in the model's terms, if it has one. */
  async repeat(call: Call, at: number): Promise<unknown> {
    switch (call.verb) {
      case 'replicate':
        this.#replicas[call.partition] = await this.#snapshot(call.partition);
        return undefined;
      case 'failover':
        return this.#restore(call.partition);
      case 'week':
        return this.#week(call.user, call.expire);
    }
    await tick(this.#redis);
    const from = await nowMs(this.#redis);
    const translate = await this.#make(call, at);
    const to = await nowMs(this.#redis);
    this.blurred ||= from !== to;
    this.#windows.push({ from, to, tick: at });
    await this.read(); // an id may be gone with the next call
    return translate();
  }

  /** Makes the call; what it answered can be translated once the call's window is known. */
  async #make(call: ScriptCall, at: number): Promise<() => unknown> {
    const actor = { user: USER[OWNER]!, service: false };
    switch (call.verb) {
      case 'create': {
        const members = call.members.map((u) => USER[u]!);
        await this.#verbs.create({ channel: CHANNEL[1]!, id: `m${call.message}`, clientId: 'c', title: '', members });
        return () => undefined;
      }
      case 'append': {
        const reply = await this.#verbs.append({
          channel: CHANNEL[call.channel]!,
          kind: call.channel === DIRECT ? 'direct' : 'group',
          mayCreate: true,
          from: USER[call.from]!,
          clientId: `c${call.clientId}`,
          id: `m${call.message}`,
          content: 'text',
          snippet: 'text',
          via: DEVICE[call.via]!,
        });
        return () =>
          typeof reply === 'string'
            ? reply
            : { seq: reply.seq, message: Number(reply.id.slice(1)), duplicate: reply.duplicate };
      }
      case 'member': {
        const ids: [string, string] = [`m${call.message}`, 'unused'];
        if (call.add) await this.#verbs.putMember(CHANNEL[1]!, actor, ids, USER[call.user]!, '', 500);
        else await this.#verbs.removeMember(CHANNEL[1]!, actor, ids, USER[call.user]!);
        return () => undefined;
      }
      case 'advance': {
        const bounds = { tailMs: call.keepTail ? DAY_MS : 0, logMaxEntries: 1e9, logMaxBytes: 1e12 };
        const trimmed = await this.#verbs.advance(call.partition, 'fanout', await this.#id(call.to, at), bounds, [
          'fanout',
        ]);
        return () => trimmed;
      }
      case 'deliver': {
        const { source, target, after, last, floor, deliveries } = call.batch;
        const block: Block = {
          source,
          target,
          after: await this.#id(after, at),
          last: await this.#id(last, at),
          floor,
          deliveries: [],
        };
        const entries = [];
        for (const { entry, recipients } of deliveries) {
          if (!this.#log.has(entry.message)) await this.read();
          const { id, fields } = this.#log.get(entry.message)!;
          const rest = fieldsOf(fields.slice(DELIVERY_BEGINS));
          const kept = Object.entries(rest)
            .filter(([name]) => !INTERNAL.has(name))
            .flat();
          const via = rest.via ?? '';
          entries.push({
            logId: id,
            via,
            fields: [...fields.slice(0, DELIVERY_BEGINS), ...kept],
            recipients: recipients.map((u) => USER[u]!),
          });
        }
        const [status, cursor] = await this.#verbs.deliverOne({ ...block, deliveries: entries });
        return () => ({ status, cursor: this.#number(cursor) });
      }
      case 'attach': {
        const since = call.since === undefined ? {} : { since: await this.#id(call.since, at) };
        const who = {
          user: USER[call.user]!,
          device: DEVICE[call.device]!,
          session: `s${call.session}`,
          gateway: GATEWAY,
        };
        const reply = await this.#verbs.attach({ ...who, maxSessions: 8, ...since });
        if (reply === 'too_many') return () => reply;
        const { position, tail, acked, first, gap, lost } = reply;
        return () => ({
          position: this.#number(position),
          tail: this.#number(tail),
          acked: this.#number(acked),
          first,
          gap,
          lost,
        });
      }
      case 'detach': {
        const who = {
          user: USER[call.user]!,
          device: DEVICE[call.device]!,
          session: `s${call.session}`,
          gateway: GATEWAY,
        };
        const reply = await this.#verbs.detach(who);
        return () => reply === 'detached';
      }
      case 'reassert': {
        const offset = await this.#id(call.reached, at);
        const who = { user: USER[call.user]!, device: DEVICE[call.device]!, session: `s${call.session}`, offset };
        const [reply] = await this.#verbs.reassert(GATEWAY, [who]);
        return () => reply;
      }
      case 'restore': {
        const marks = call.marks.map((mark) => ({ ...mark, channel: CHANNEL[mark.channel]! }));
        const floor = call.floor === NEVER ? null : await this.#id(call.floor, at);
        const others = await this.#rebuild.restore(USER[call.user]!, marks, true, floor);
        return () => others;
      }
      case 'ack': {
        const raised = await this.#verbs.ackOne(
          USER[call.user]!,
          DEVICE[call.device]!,
          await this.#id(call.offset, at),
        );
        return () => raised === 1;
      }
      case 'raise': {
        const peer = call.channel === DIRECT ? { peer: USER[1 - call.user]! } : { peer: undefined };
        const mark = {
          channel: CHANNEL[call.channel]!,
          user: USER[call.user]!,
          delivered: call.delivered,
          read: 0,
          ...peer,
        };
        const [reply] = await this.#receipts.raise([mark]);
        return () => (typeof reply === 'string' ? reply : reply?.delivered);
      }
    }
  }

  async #week(user: number, expire: boolean): Promise<void> {
    const key = keys.devices(USER[user]!);
    const then = (await nowMs(this.#redis)) - 8 * DAY_MS;
    const known = await this.#redis.hgetall(key);
    for (const [field, value] of Object.entries(known)) {
      if (field.startsWith('device:'))
        await this.#redis.hset(key, field, `${value.split(' ')[0]} ${then}`, 'seen', then);
    }
    if (expire) await this.#redis.del(keys.inbox(USER[user]!));
  }

  async #snapshot(partition: number): Promise<Snapshot> {
    const names = await this.#redis.keys(`*${keys.tag(partition)}*`);
    return Promise.all(
      names.map(async (key) => {
        const [value, ttl] = await Promise.all([this.#redis.dumpBuffer(key), this.#redis.pttl(key)]);
        return { key, ttl: Math.max(0, ttl), value: value! };
      }),
    );
  }

  async #restore(partition: number): Promise<void> {
    const names = await this.#redis.keys(`*${keys.tag(partition)}*`);
    const snapshot = this.#replicas[partition] ?? [];
    await Promise.all([
      ...(names.length > 0 ? [this.#redis.del(...names)] : []),
      ...snapshot.map(({ key, ttl, value }) => this.#redis.restore(key, ttl, value)),
    ]);
  }

  /** Redis' id for the model's: of something that was seen in Redis before, or in the clock's future. */
  async #id(id: number, at: number): Promise<string> {
    if (!this.#ids.has(id)) await this.read();
    const known = this.#ids.get(id);
    if (known !== undefined) return known;
    if (id < (at + 100) * IDS_PER_TICK) throw new Error(`nothing in Redis is ${id} of the model`);
    return `${(await nowMs(this.#redis)) + DAY_MS}-0`;
  }

  #number(id: string | null | undefined): number {
    if (!id) return NEVER;
    if (id === '0-0') return 0;
    const [ms = 0, n = 0] = id.split('-').map(Number);
    // `below` in ids.lua: the greatest id of the millisecond before.
    const before = n === 999_999_999;
    const window = this.#windows.findLast(
      ({ from, to }) => from <= (before ? ms + 1 : ms) && (before ? ms + 1 : ms) <= to,
    );
    const number = window ? window.tick * IDS_PER_TICK + (before ? -1 : n) : Number.NaN;
    this.#ids.set(number, id);
    return number;
  }

  /** Everything that the model has, as Redis has it. */
  async read(): Promise<unknown> {
    const nodes = Array.from({ length: PARTITIONS }, async (_, p) => {
      const [log, cursor, trimmed] = await Promise.all([
        this.#redis.xrange(keys.log(p), '-', '+'),
        this.#redis.hgetall(keys.cursor(p)),
        this.#redis.hget(keys.positions(p), 'trimmed'),
      ]);
      for (const [id, fields] of log) this.#log.set(Number(fields[7]?.slice(1)), { id, fields });
      return {
        log: log.map(([id, fields]) => [this.#number(id), ...entryOf(fields)]),
        logTrimmed: this.#number(trimmed),
        cursors: Array.from({ length: PARTITIONS }, (_, s) => this.#number(cursor[s] ?? '0-0')),
        floor: this.#number(cursor.floor),
        channels: await Promise.all(CHANNELS.filter((c) => HOME_OF_CHANNEL[c] === p).map((c) => this.#channel(c))),
        users: await Promise.all(USERS.filter((u) => HOME_OF_USER[u] === p).map((u) => this.#user(u))),
      };
    });
    return Promise.all(nodes);
  }

  async #channel(channel: number): Promise<unknown> {
    const [head, receipts] = await Promise.all([
      this.#redis.hgetall(keys.channel(CHANNEL[channel]!)),
      this.#redis.hgetall(keys.receipts(CHANNEL[channel]!)),
    ]);
    const marks = USER.map((u) => (channel === DIRECT ? head[`receipt:${u}`] : receipts[u]));
    return { seq: Number(head.seq ?? 0), delivered: marks.map((mark) => Number(mark?.split(' ')[0] ?? 0)) };
  }

  async #user(user: number): Promise<unknown> {
    const name = USER[user]!;
    const [items, devices, conversations, sessions] = await Promise.all([
      this.#redis.xrange(keys.inbox(name), '-', '+'),
      this.#redis.hgetall(keys.devices(name)),
      this.#redis.hgetall(keys.conversations(name)),
      this.#redis.hgetall(keys.sessions(name)),
    ]);
    const mine = DEVICE.slice(0, DEVICES[user]);
    return {
      items: items.map(([id, fields]) => [this.#number(id), ...entryOf(fields)]),
      trimmed: this.#number(devices.trimmed),
      floor: this.#number(devices.floor),
      acked: mine.map((d) => this.#number(devices[`device:${d}`]?.split(' ')[0])),
      sessions: mine.map((d) => Number(sessions[d]?.split(' s')[1] ?? NEVER)),
      // Without the time.
      marks: CHANNELS.map((c) => conversations[CHANNEL[c]!]?.replace(/^(\d+) \d+/, '$1') ?? ''),
    };
  }
}

const entryOf = (fields: readonly string[]) => [
  CHANNEL.indexOf(fields[3] ?? ''),
  Number(fields[5]),
  Number(fields[7]?.slice(1)),
];

/** The model's nodes in the same shape. */
export function shapeOf(nodes: readonly Node[]): unknown {
  return nodes.map((node) => ({
    log: node.log.filter((e) => e.id >= node.logStart).map((e) => [e.id, e.channel, e.seq, e.message]),
    logTrimmed: node.logTrimmed,
    cursors: node.cursors,
    floor: node.floor,
    channels: node.channels.flatMap((c) => (c ? [{ seq: c.seq, delivered: c.delivered }] : [])),
    users: node.users.flatMap((u) =>
      u
        ? [
            {
              items: u.items.map(({ offset, entry }) => [offset, entry.channel, entry.seq, entry.message]),
              trimmed: u.trimmed,
              floor: u.floor,
              acked: u.devices.map((d) => d?.acked ?? NEVER),
              sessions: u.sessions.map((s) => s ?? NEVER),
              marks: u.marks.map((m) => (m ? `${m.last} ${m.unread} ${m.read}${m.left ? ' left' : ''}` : '')),
            },
          ]
        : [],
    ),
  }));
}
