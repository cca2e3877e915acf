import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openArchive } from '../../lib/archive/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';

const keys = keyspace(16);
const folder = temporaryFolder('dead-letters');
const archiveUrl = `sqlite:${join(folder, 'archive.sqlite')}`;
const BOB = keys.partitionOf('bob');
let server: RedisServer;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  redis = new Redis(server.url);
  const archive = await openArchive(archiveUrl, { logger: pino({ level: 'silent' }) });
  await archive.applySchema();
  await archive.close();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function millrace(...args: string[]) {
  const main = join(import.meta.dirname, 'main.ts');
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    REDIS_URL: server.url,
    ARCHIVE_URL: archiveUrl,
    MILLRACE_DATA: folder,
  };
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { env, encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}
const listed = (...more: string[]) =>
  (JSON.parse(millrace('dead-letters', 'list', '--json', ...more).out) as { rows: Record<string, string>[] }[])[0]
    ?.rows ?? [];

const PUSH = [
  'user',
  'bob',
  'devices',
  'phone',
  'channel',
  'dm:alice:bob',
  'seq',
  '3',
  'snippet',
  'a secret',
  'offset',
  '1-1',
];
const ID = '4a3c1e00-c952-11f0-8000-0123456789ab';
const EVENT = [
  'type',
  'message',
  'channel',
  'dm:alice:bob',
  'seq',
  '1',
  'id',
  ID,
  'from',
  'alice',
  'cid',
  'c',
  'ts',
  '1700000000000',
  'prev',
  '0-0',
  'mv',
  '0',
  'content',
  'archived late',
];

test('all kinds are listed with their reasons and without contents, and replayed where that makes sense', async () => {
  await redis.xadd(keys.dead(BOB), '1000-0', 'kind', 'push', 'reason', 'internal-error', ...PUSH);
  await redis.xadd(
    keys.dead(3),
    '2000-0',
    'kind',
    'archive',
    'log_id',
    '1700000000000-0',
    'reason',
    'refused',
    ...EVENT,
  );
  await redis.xadd(keys.dead(4), '3000-0', 'log_id', '5-0', 'reason', 'not a channel', 'type', 'x');
  await redis.xadd(keys.dead(BOB), '4000-0', 'user', 'bob', 'reason', 'WRONGTYPE', ...EVENT);

  const all = listed();
  expect(all.map(({ kind, reason, user, channel }) => ({ kind, reason, user, channel }))).toEqual([
    { kind: 'push', reason: 'internal-error', user: 'bob', channel: 'dm:alice:bob' },
    { kind: 'archive', reason: 'refused', user: null, channel: 'dm:alice:bob' },
    { kind: 'log', reason: 'not a channel', user: null, channel: null },
    { kind: 'inbox', reason: 'WRONGTYPE', user: 'bob', channel: 'dm:alice:bob' },
  ]);
  const shown = millrace('dead-letters', 'list');
  expect(shown.status).toBe(0);
  expect(shown.out).toContain('internal-error');
  expect(shown.out).not.toContain('a secret');
  expect(shown.out).not.toContain('archived late');
  expect(listed('--kind', 'push')).toHaveLength(1);

  const one = millrace('dead-letters', 'replay', all[0]?.letter ?? '');
  expect(one).toMatchObject({ status: 0, err: '' });
  expect(one.out).toContain('1 replayed, 0 left');
  expect((await redis.xrange(keys.push(BOB), '-', '+')).map(([, fields]) => fields)).toEqual([PUSH]);

  const rest = millrace('dead-letters', 'replay');
  expect(rest.out).toContain('1 replayed, 2 left');
  expect(rest.out).toContain('fills it from history');
  expect(listed().map(({ kind }) => kind)).toEqual(['log', 'inbox']);
  const archive = await openArchive(archiveUrl, { logger: pino({ level: 'silent' }) });
  expect(await archive.page('dm:alice:bob', { after: 0, limit: 10, order: 'oldest' })).toMatchObject([
    { seq: 1, content: 'archived late' },
  ]);
  await archive.close();
});

test('what is not there is said so', () => {
  const { status, err } = millrace('dead-letters', 'replay', '3/1-1');
  expect(status).not.toBe(0);
  expect(err).toContain('There is no dead letter 3/1-1.');
});

test('inspect user shows devices with their tokens’ platforms, and the wake-ups that wait', async () => {
  await redis.hset(keys.devices('bob'), { 'push:phone': 'android a-token', pushable: 'phone', 'pushed:phone': '1-1' });
  const { out } = millrace('inspect', 'user', 'bob', '--json');
  const sections = JSON.parse(out) as { title: string; rows: object[] }[];
  const of = (title: string) => sections.find((section) => section.title === title)?.rows;
  expect(of('Devices')).toMatchObject([{ device: 'phone', push: 'android', 'woken up to': '1-1', 'last seen': null }]);
  expect(of('Wake-ups waiting')).toMatchObject([{ devices: 'phone', channel: 'dm:alice:bob', seq: '3' }]);
  expect(out).not.toContain('a-token');
});
