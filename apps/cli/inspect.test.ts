import { execSync } from 'node:child_process';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { type Keyspace, keyspace } from '../../lib/keyspace/index.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { inspectChannel } from './inspect-channel.ts';
import { inspectLag, inspectPartition } from './inspect-partition.ts';
import { inspectUser } from './inspect-user.ts';
import { type Looking, redisCli } from './looking.ts';
import { type Section, show } from './table.ts';

const keys: Keyspace = keyspace(16, { oneNode: true });
const MINUTE = 60_000;
let server: RedisServer;
let store: RedisStore;
let looking: Looking;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  store = await connect(server.url, { logger: pino({ level: 'silent' }), name: 'inspect-test' });
  looking = { store, keys, cli: redisCli(store) };
});
afterEach(async () => {
  await store.command.flushall();
});
afterAll(async () => {
  await store.close();
  await server.stop();
});

/** Every line must run as it stands, and show something where we do. */
function section(sections: readonly Section[], title: string): Section['rows'] {
  const found = sections.find((one) => one.title.startsWith(title));
  if (found === undefined) throw new Error(`no section ${title}`);
  const said = execSync(found.redisCli, { encoding: 'utf8' });
  // Of a queue to which nothing was ever added there is nothing to tell.
  expect(said.replace('ERR no such key', '')).not.toMatch(/ERR|WRONG/);
  if (found.rows.length > 0) expect(said.trim()).not.toBe('');
  return found.rows;
}

test('a user: presence, devices with what they acked and were woken for, blocks; never a push token', async () => {
  const now = Date.now();
  const redis = store.command;
  await redis.hset(keys.presence('bob'), { status: 'online', since: now - 5 * MINUTE });
  await redis.hset(keys.devices('bob'), {
    'device:phone': `1-1 ${now - 3 * MINUTE}`,
    'push:phone': 'android a-very-secret-token',
    'push:tablet': 'ios another-secret-token',
    'pushed:phone': '2-1',
    pushable: 'phone tablet',
  });
  await redis.xadd(keys.inbox('bob'), '1-1', 'type', 'message');
  await redis.xadd(keys.inbox('bob'), '2-1', 'type', 'message');
  await redis.hset(keys.sessions('bob'), 'phone', 'gateway-1 session-1');
  await redis.sadd(keys.blocks('bob'), 'mallory', 'eve');
  const sections = await inspectUser(looking, 'bob');
  expect(section(sections, 'Presence')).toEqual([{ status: 'online', 'online since': '5 min ago', 'last seen': null }]);
  expect(section(sections, 'Devices')).toEqual([
    {
      device: 'phone',
      acked: '1-1',
      waiting: 1,
      'last seen': '3 min ago',
      'on gateway': 'gateway-1',
      push: 'android',
      'woken up to': '2-1',
    },
    {
      device: 'tablet',
      acked: '0-0',
      waiting: 2,
      'last seen': null,
      'on gateway': null,
      push: 'ios',
      'woken up to': null,
    },
  ]);
  expect(section(sections, 'Sessions')).toEqual([{ device: 'phone', gateway: 'gateway-1', session: 'session-1' }]);
  expect(section(sections, 'Blocks')).toEqual([{ user: 'eve' }, { user: 'mallory' }]);
  expect(JSON.stringify(sections)).not.toContain('secret');
  await redis.hset(keys.presence('bob'), { status: 'offline', since: now - 3 * MINUTE });
  expect(section(await inspectUser(looking, 'bob'), 'Presence')).toEqual([
    { status: 'offline', 'online since': null, 'last seen': '3 min ago' },
  ]);
  expect(section(await inspectUser(looking, 'nobody'), 'Presence')).toEqual([]);
});

test('a direct channel: how far each of the two has received and read', async () => {
  await store.command.hset(keys.channel('dm:alice:bob'), {
    kind: 'direct',
    seq: 7,
    message: '7 alice 1 a secret',
    'receipt:alice': '7 7',
  });
  const sections = await inspectChannel(looking, 'dm:alice:bob');
  expect(section(sections, 'Receipts')).toEqual([
    { user: 'alice', delivered: 7, read: 7, 'not read': 0 },
    { user: 'bob', delivered: 0, read: 0, 'not read': 7 },
  ]);
  expect(section(sections, 'Channel')).toEqual([
    { field: 'kind', value: 'direct' },
    { field: 'seq', value: '7' },
  ]);
  expect(section(await inspectChannel(looking, 'dm:alice:carol'), 'Receipts')).toEqual([]);
});

test('a group: receipts of who is a member, furthest behind first; a table of a large one is bounded, JSON is not', async () => {
  const members = Array.from({ length: 300 }, (_, i) => `user-${i}`);
  const redis = store.command;
  await redis.hset(keys.channel('g:all'), { kind: 'group', seq: 300 });
  await redis.hset(keys.members('g:all'), Object.fromEntries(members.map((user) => [user, 'member 1-'])));
  await redis.hset(keys.members('g:all'), 'gone', 'member 1-5');
  await redis.hset(keys.receipts('g:all'), Object.fromEntries(members.slice(1).map((user, i) => [user, `300 ${i}`])));
  const sections = await inspectChannel(looking, 'g:all');
  const rows = section(sections, 'Receipts');
  expect(rows).toHaveLength(300);
  expect(rows.slice(0, 2)).toEqual([
    { user: 'user-0', delivered: 0, read: 0, 'not read': 300 },
    { user: 'user-1', delivered: 300, read: 0, 'not read': 300 },
  ]);
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((text: string) => void lines.push(text));
  show(sections, false);
  const shown = lines.splice(0).join('\n');
  show(sections, true);
  log.mockRestore();
  expect(shown).toContain('… and 250 more');
  expect(shown).toContain('… and 251 more');
  expect(shown).not.toContain('user-299');
  expect(lines.join()).toContain('user-299');
});

test('a partition, and lag: wake-ups that wait and that are being sent, gateways, dead letters', async () => {
  const redis = store.command;
  const p = 3;
  const before = await inspectPartition(looking, String(p));
  expect(section(before, 'Wake-ups')).toEqual([{ waiting: 0, oldest: null, 'being sent': 0 }]);
  await redis.xadd(keys.push(p), `${Date.now() - 5 * MINUTE}-0`, 'user', 'bob');
  await redis.xadd(keys.push(p), '*', 'user', 'carol');
  await redis.xgroup('CREATE', keys.push(p), 'pusher', '0');
  await redis.xreadgroup('GROUP', 'pusher', 'worker-1', 'COUNT', 1, 'STREAMS', keys.push(p), '>');
  await redis.xadd(keys.dead(p), '*', 'kind', 'push', 'reason', 'test');
  await redis.hset(keys.gateways(p), 'gateway-1', Date.now() - 3000);
  await redis.sadd(keys.served(p, 'gateway-1'), 'bob phone session-1', 'bob tablet session-2');
  await redis.set(keys.lease(p, 'pusher'), 'worker-1');
  const sections = await inspectPartition(looking, String(p));
  const queue = { waiting: 2, oldest: '5 min ago', 'being sent': 1 };
  expect(section(sections, 'Wake-ups')).toEqual([queue]);
  expect(section(sections, 'Dead letters')).toEqual([{ entries: 1 }]);
  expect(section(sections, 'Gateways')).toMatchObject([{ gateway: 'gateway-1', sessions: 2 }]);
  expect(section(sections, 'Leases')).toContainEqual({ role: 'pusher', 'held by': 'worker-1' });
  const rows = section(await inspectLag(looking), 'Wake-ups');
  expect(rows).toHaveLength(16);
  expect(rows[p]).toEqual({ partition: p, ...queue, 'dead letters': 1 });
  expect(rows[4]).toEqual({ partition: 4, waiting: 0, oldest: null, 'being sent': 0, 'dead letters': 0 });
});

test('users and devices may have the names that every object has', async () => {
  const redis = store.command;
  await redis.hset(keys.devices('bob'), { 'device:constructor': '1-1 1', 'device:__proto__': '1-1 1' });
  await redis.hset(keys.sessions('bob'), 'phone', 'gateway-1 session-1');
  const devices = section(await inspectUser(looking, 'bob'), 'Devices');
  expect(devices.map((row) => row['on gateway'])).toEqual([null, null]);
  await redis.hset(keys.channel('g:odd'), { kind: 'group', seq: 1 });
  await redis.hset(keys.members('g:odd'), { constructor: 'owner 1-', valueOf: 'member 1-' });
  await redis.hset(keys.receipts('g:odd'), 'valueOf', '1 1');
  const receipts = section(await inspectChannel(looking, 'g:odd'), 'Receipts');
  expect(receipts).toMatchObject([{ read: 0 }, { read: 1 }]);
});
