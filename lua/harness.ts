/** What the scripts' tests share: a Redis of their own, emptied between tests, and short ways to make its contents. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { keyspace } from '../lib/keyspace/index.ts';
import type { Block, Delivery } from '../lib/redis/delivery.ts';
import { PresenceVerbs } from '../lib/redis/presence-verbs.ts';
import { ReceiptVerbs } from '../lib/redis/receipt-verbs.ts';
import { Verbs } from '../lib/redis/verbs.ts';
import { born } from '../ops/redis/born.ts';
import { type RedisServer, startRedis } from '../ops/redis/server.ts';

export const PARTITIONS = 16;
export const keys = keyspace(PARTITIONS);
export const DAY_MS = 24 * 3600_000;

export interface Store {
  redis: Redis;
  verbs: Verbs;
  presence: PresenceVerbs;
  receipts: ReceiptVerbs;
}

/** Filled before the tests of the file run. */
export function useStore(): Store {
  const store = {} as Store;
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
    store.redis = new Redis(server.url);
    store.verbs = new Verbs(store.redis, keys);
    store.presence = new PresenceVerbs(store.redis, keys);
    store.receipts = new ReceiptVerbs(store.redis, keys);
  });
  beforeEach(async () => {
    await store.redis.config('SET', 'maxmemory', '0');
    await store.redis.flushall();
    await born(store.redis, keys);
  });
  afterAll(async () => {
    store.redis.disconnect();
    await server.stop();
  });
  return store;
}

/** The store's clock. */
export async function nowMs(redis: Redis): Promise<number> {
  const [s, us] = await redis.time();
  return Number(s) * 1000 + Math.floor(Number(us) / 1000);
}

/** Lets the store's clock pass the present millisecond. */
export async function tick(redis: Redis): Promise<void> {
  const start = await nowMs(redis);
  while ((await nowMs(redis)) <= start + 1);
}

let made = 0;
/** A version 1 UUID in shape; another one each time. */
export function uuid(): string {
  return `${(++made).toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`;
}

export function message(
  from: string,
  channel: string,
  clientId: string,
  more: Partial<{ content: string; via: string }> = {},
) {
  return {
    channel,
    kind: channel.startsWith('dm:') ? ('direct' as const) : ('group' as const),
    mayCreate: true,
    from,
    clientId,
    id: uuid(),
    content: more.content ?? `hello ${clientId}`,
    snippet: more.content ?? `hello ${clientId}`,
    ...(more.via === undefined ? {} : { via: more.via }),
  };
}

export interface EventInput {
  type?: string;
  channel?: string;
  seq: number;
  from?: string;
  via?: string;
  ts?: number;
  to: string[];
  rest?: string[];
}

/** A log entry as fan-out hands it to deliver.lua. */
export function delivery(logId: string, e: EventInput): Delivery {
  const { type = 'message', channel = 'dm:alice:bob', from = 'alice' } = e;
  const head = ['type', type, 'channel', channel, 'seq', String(e.seq), 'id', `id-${e.seq}`, 'from', from];
  const rest = e.rest ?? ['content', `text ${e.seq}`];
  const fields = [...head, 'cid', `c-${e.seq}`, 'ts', String(e.ts ?? 1000 + e.seq), ...rest];
  return { logId, via: e.via ?? '', fields, recipients: e.to };
}

export function block(target: number, after: string, deliveries: Delivery[], more: Partial<Block> = {}): Block {
  return { source: 3, target, after, last: deliveries.at(-1)?.logId ?? after, floor: false, deliveries, ...more };
}

export function fieldsOf(flat: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) record[flat[i] ?? ''] = flat[i + 1] ?? '';
  return record;
}

export async function inboxOf(redis: Redis, user: string): Promise<(Record<string, string> & { offset: string })[]> {
  const entries = await redis.xrange(keys.inbox(user), '-', '+');
  return entries.map(([offset, fields]) => ({ ...fieldsOf(fields), offset }));
}

/** What rang at a gateway, over all the partitions. */
export async function rings(redis: Redis, gateway: string): Promise<string[]> {
  const all: string[] = [];
  for (let p = 0; p < PARTITIONS; p++) {
    for (const [, fields] of await redis.xrange(keys.bell(p, gateway), '-', '+')) all.push(fields.join(' '));
  }
  return all;
}

export function connect(verbs: Verbs, user: string, device = 'phone', gateway = 'gw1', since?: string) {
  const session = `${user}-${device}-${gateway}`;
  return verbs.attach({ user, device, session, gateway, maxSessions: 8, ...(since === undefined ? {} : { since }) });
}

/** The attach that must succeed. */
export async function attached(...args: Parameters<typeof connect>) {
  const reply = await connect(...args);
  if (reply === 'too_many') throw new Error('too many sessions');
  return reply;
}

/** Sets back when a device, and so its user, was last seen. */
export async function unseenFor(redis: Redis, user: string, device: string, ms: number): Promise<void> {
  const then = (await nowMs(redis)) - ms;
  const record = (await redis.hget(keys.devices(user), `device:${device}`)) ?? '0-0';
  await redis.hset(keys.devices(user), `device:${device}`, `${record.split(' ')[0]} ${then}`, 'seen', then);
}

/** Everything in the store but how it began, to compare before and after. */
export async function dump(redis: Redis): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  for (const key of (await redis.keys('*')).sort()) {
    if (key.startsWith('born:')) continue;
    const type = await redis.type(key);
    if (type === 'hash') all[key] = await redis.hgetall(key);
    else if (type === 'stream') all[key] = await redis.xrange(key, '-', '+');
    else if (type === 'set') all[key] = (await redis.smembers(key)).sort();
    else if (type === 'zset') all[key] = await redis.zrange(key, '0', '-1', 'WITHSCORES');
    else all[key] = await redis.get(key);
  }
  return all;
}

/** Runs `work` while Redis refuses every write that needs memory. */
export async function outOfMemory<T>(redis: Redis, work: () => Promise<T>): Promise<T> {
  await redis.config('SET', 'maxmemory', '1');
  try {
    return await work();
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
}
