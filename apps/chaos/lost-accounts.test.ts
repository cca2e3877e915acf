/**
 * Redis loses everything, over both archives: who blocked somebody is not written to by them, who was away is woken, what
 * was read is not unread again; and who is erased, before or after, is gone from the archive too.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Archive, openArchive } from '../../lib/archive/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { createLogger } from '../../lib/telemetry/index.ts';
import { type Cassandra, startCassandra } from '../../ops/cassandra/cassandra.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { unarchived } from './writers.ts';

const WITHIN_MS = 30_000;
const keys = keyspace(16);
const partitions = Array.from({ length: keys.partitions }, (_, p) => p);
const main = join(import.meta.dirname, '../cli/main.ts');

describe.each(['sqlite', 'cassandra'])('over %s', (kind) => {
  const folder = temporaryFolder(`lost-accounts-${kind}`);
  let cassandra: Cassandra | undefined;
  let redis: RedisServer;
  let store: Redis;
  let fcm: FcmStandIn;
  let archive: Archive;
  let deployment: Deployment;
  let gateway: MillraceProcess;

  beforeAll(async () => {
    if (kind === 'cassandra') cassandra = await startCassandra({ dir: folder });
    [redis, fcm] = await Promise.all([startRedis(), FcmStandIn.start()]);
    const archiveUrl = cassandra?.url ?? `sqlite:${join(folder, 'archive.sqlite')}`;
    const env = { ...process.env, ARCHIVE_URL: archiveUrl };
    if (cassandra) await promisify(execFile)(process.execPath, [main, 'schema'], { env });
    archive = await openArchive(archiveUrl, { logger: createLogger({ name: 'test', level: 'silent' }) });
    store = new Redis(redis.url);
    deployment = new Deployment({ redisUrl: redis.url, archiveUrl, env: { PARTITIONS: '16', ...fcm.env } });
    gateway = await deployment.start('gateway');
    await deployment.start('fanout', 'archiver', 'pusher');
  }, 180_000);
  afterAll(async () => {
    store?.disconnect();
    await deployment?.stop();
    await archive?.close();
    await Promise.all([redis?.stop(), fcm?.stop(), cassandra?.stop()]);
  }, 60_000);

  async function call(user: string, line: string, body?: unknown): Promise<{ status: number; text: string }> {
    const [method = '', path = ''] = line.split(' ');
    const headers = {
      authorization: `Bearer ${deployment.token(user)}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const response = await fetch(gateway.address + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, text: await response.text() };
  }
  let sent = 0;
  const say = async (from: string, to: string) =>
    (await call(from, 'POST /v1/messages', { to, client_id: `c${++sent}`, content: `message ${sent}` })).status;
  const blocks = async (user: string) => (JSON.parse((await call(user, 'GET /v1/blocks')).text) as object) ?? {};
  const unread = async (user: string) => {
    const { text } = await call(user, 'GET /v1/conversations');
    const { conversations } = JSON.parse(text) as { conversations: { channel: string; unread: number }[] };
    return Object.fromEntries(conversations.map(({ channel, unread }) => [channel, unread]));
  };
  /** Watermarks at once, too, which otherwise wait for a minute. */
  const archived = (channels: readonly string[]) =>
    until(
      'all is archived',
      WITHIN_MS,
      async () => {
        const waiting = await Promise.all(
          partitions.map(async (p) => {
            const items = await store.zrange(keys.unsaved(p), '0', '-1');
            for (const item of items) await store.zadd(keys.unsaved(p), 'XX', 0, item);
            return items;
          }),
        );
        return [...waiting.flat(), ...(await unarchived(channels, store, keys))];
      },
      (left) => left.length === 0,
    );

  test('blocks hold, devices are woken, what was read stays read', async () => {
    for (let i = 0; i < 5; i++) expect(await say('ann', 'bob')).toBe(202);
    expect(await say('dan', 'ann')).toBe(202);
    const phone = { platform: 'android', push_token: 'bobs-secret' };
    expect(await call('bob', 'PUT /v1/devices/phone', phone)).toMatchObject({ status: 204 });
    const laptop = await RawSession.start(deployment, gateway, 'bob', { device: 'laptop' });
    laptop.send({ type: 'read', channel: 'dm:ann:bob', seq: 4 });
    await until('it is read', WITHIN_MS, async () => (await unread('bob'))['dm:ann:bob'] === 1);
    await laptop.close();
    expect(await call('cid', 'PUT /v1/blocks/bob')).toMatchObject({ status: 204 });
    expect(await call('ann', 'PUT /v1/blocks/dan')).toMatchObject({ status: 204 });
    await archived(['dm:ann:bob', 'dm:ann:dan']);
    fcm.received.length = 0;
    await store.flushall();

    expect(await say('bob', 'cid')).toBe(403);
    expect(await say('cid', 'bob')).toBe(403);
    expect(await say('dan', 'ann')).toBe(403);
    expect(await say('ann', 'bob')).toBe(202);
    // Nothing of bob's was asked for yet: the message itself finds the token.
    await until('bob is woken', WITHIN_MS, () => fcm.sent('bobs-secret').length > 0);
    expect(fcm.sent('bobs-secret')).toHaveLength(1);
    expect(await unread('bob')).toEqual({ 'dm:ann:bob': 2 });
    expect(await blocks('cid')).toEqual({ blocks: ['bob'] });
    expect(await call('cid', 'DELETE /v1/blocks/bob')).toMatchObject({ status: 204 });
    expect(await say('bob', 'cid')).toBe(202);

    const lines = (await call('bob', 'GET /v1/users/bob/export')).text;
    expect(lines).toContain('{"type":"device","device":"phone","platform":"android"}');
    expect(lines).not.toContain('bobs-secret');
    const logged = [...deployment.processes].flatMap((process) => process.log).join('\n');
    expect(logged).not.toContain('bobs-secret');
  }, 120_000);

  test('who is erased is gone from the archive, also when Redis lost everything just before', async () => {
    const tablet = { platform: 'ios', push_token: 'eves-secret' };
    expect(await call('eve', 'PUT /v1/devices/tablet', tablet)).toMatchObject({ status: 204 });
    expect(await call('eve', 'PUT /v1/blocks/ann')).toMatchObject({ status: 204 });
    expect(await call('fay', 'PUT /v1/blocks/eve')).toMatchObject({ status: 204 });
    await archived([]);
    expect(await archive.account('eve')).toMatchObject({ devices: [{ token: 'eves-secret' }], blocks: ['ann'] });
    await store.flushall();
    expect(await call('eve', 'DELETE /v1/users/eve')).toMatchObject({ status: 202 });
    const state = () => store.hget(keys.erasure('eve'), 'state');
    await until('eve is erased', WITHIN_MS, state, (now) => now === 'done');
    expect(await archive.account('eve')).toEqual({ devices: [], blocks: [], blockedBy: [] });
    expect(await blocks('fay')).toEqual({ blocks: [] });
    // Whoever has the id next.
    expect(await say('fay', 'eve')).toBe(202);
    expect(await say('eve', 'ann')).toBe(202);
    expect(await call('eve', 'GET /v1/devices')).toMatchObject({ text: '{"devices":[]}' });
  }, 120_000);
});
