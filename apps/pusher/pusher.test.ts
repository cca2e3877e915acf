/** A real Redis, the pusher in this process, and FCM's stand-in behind TLS. */
import { type AddressInfo, createServer, type Socket, connect as tcp } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { loadConfig } from '../../lib/config/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { PushVerbs } from '../../lib/redis/push-verbs.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { createLogger, createMetrics, type Metrics } from '../../lib/telemetry/index.ts';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { fcmSender } from './fcm.ts';
import { startPusher } from './main.ts';
import type { Pace } from './waker.ts';

const PARTITIONS = 4;
const PACE: Pace = { waitMs: 1500, mostWaitMs: 3000, attempts: 3, backoffMs: 50, mostBackoffMs: 100 };
const logged: string[] = [];
const logger = createLogger({ name: 'test', level: 'info', destination: { write: (line) => logged.push(line) } });
const keys = keyspace(PARTITIONS, { oneNode: true });
const BOB = keys.partitionOf('bob');
let server: RedisServer;
let store: RedisStore;
let fcm: FcmStandIn;
let verbs: Verbs;
let push: PushVerbs;
let metrics: Metrics;
let pusher: RunningApp;
let seq = 0;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  store = await connect(server.url, { logger, name: 'pusher-test' });
  verbs = new Verbs(store.command, keys);
  push = new PushVerbs(store.command, keys);
  fcm = await FcmStandIn.start();
});
beforeEach(async () => {
  await store.command.flushall();
  seq = 0;
  fcm.answer = () => 'ok';
  fcm.retryAfterS = undefined;
  fcm.received.length = 0;
  pusher = await start();
});
afterEach(() => pusher.stop(new AbortController().signal));
afterAll(async () => {
  await fcm.stop();
  await store.close();
  await server.stop();
});

function start(
  through = fcm.proxyUrl,
  more: Partial<Pace & { answerMs: number }> = {},
  over: RedisStore = store,
): Promise<RunningApp> {
  metrics = createMetrics();
  const config = loadConfig({ REDIS_URL: server.url, PARTITIONS: String(PARTITIONS) });
  const context = {
    config,
    store: over,
    logger,
    metrics,
    incarnation: `pusher-${Math.random()}`,
  } as unknown as AppContext;
  const { credentialsFile, authority } = fcm;
  const { answerMs = 20_000, ...pace } = more;
  return startPusher(context, {
    pace: { ...PACE, ...pace },
    sender: fcmSender({ credentialsFile, proxy: through, snippet: 'snippet', ca: authority.ca, answerMs }),
  });
}

const attach = (device: string) =>
  verbs.attach({ user: 'bob', device, session: `s-${device}`, gateway: 'gw', maxSessions: 8 });
const token = (device: string, text = `token-${device}`) =>
  push.putDevice('bob', device, { platform: 'android', token: text }, 8);
async function deliver(n: number): Promise<void> {
  for (let i = 0; i < n; i++) {
    seq++;
    const head = ['type', 'message', 'channel', 'dm:alice:bob', 'seq', String(seq), 'id', `id-${seq}`, 'from', 'alice'];
    const fields = [...head, 'cid', `c-${seq}`, 'ts', '1', 'content', `text ${seq}`];
    const deliveries = [{ logId: `${seq}-0`, via: '', fields, recipients: ['bob'] }];
    const block = { source: 0, target: BOB, after: `${seq - 1}-0`, last: `${seq}-0`, floor: false, deliveries };
    await verbs.deliver([block]);
  }
}
const queued = () => store.command.xlen(keys.push(BOB));
const emptied = () => until('the queue is empty', 15_000, queued, (n) => n === 0);
const dead = async () => (await store.command.xrange(keys.dead(BOB), '-', '+')).map(([, fields]) => fields);
const suppressed = (reason: string) => metrics.pushesSuppressed.of(reason).value;

test('a burst wakes a device once, with the count, and each device for itself', async () => {
  await attach('laptop');
  await token('phone');
  await token('tablet');
  await deliver(5);
  await emptied();
  expect(fcm.sent('token-phone')).toMatchObject([
    { data: { count: '5', seq: '5' }, notification: { body: 'text 5 (+4)' } },
  ]);
  expect(fcm.sent('token-tablet')).toHaveLength(1);
});

test('what another device acks in time is not pushed', async () => {
  await attach('laptop');
  await token('phone');
  await deliver(1);
  const [last] = await store.command.xrevrange(keys.inbox('bob'), '+', '-', 'COUNT', 1);
  await verbs.ack([{ user: 'bob', device: 'laptop', offset: last?.[0] ?? '' }]);
  await emptied();
  expect(fcm.received).toEqual([]);
  expect(suppressed('acked')).toBe(1);
});

test('a dead token is removed, a newer one of the device stays', async () => {
  await attach('laptop');
  await token('phone');
  fcm.answer = () => 'unregistered';
  await deliver(1);
  await emptied();
  expect(await store.command.hget(keys.devices('bob'), 'pushable')).toBeNull();
  expect(await dead()).toEqual([]);
});

test('what passes is repeated, as FCM asks for; nothing is sent before', async () => {
  await attach('laptop');
  await token('phone');
  let refusals = 1;
  fcm.retryAfterS = 1;
  fcm.answer = () => (refusals-- > 0 ? 'quota' : 'ok');
  await deliver(1);
  await emptied();
  const [first, second] = fcm.received;
  expect(fcm.received.map(({ answer }) => answer)).toEqual(['quota', 'ok']);
  expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(950);
});

test('what does not pass is a dead letter with its reason, after a bounded number of attempts', async () => {
  await attach('laptop');
  await token('phone');
  fcm.answer = () => 'internal';
  await deliver(2);
  await emptied();
  expect(fcm.received).toHaveLength(PACE.attempts);
  const [letter = []] = await dead();
  expect(letter).toEqual(expect.arrayContaining(['kind', 'push', 'reason', 'internal-error', 'devices', 'phone']));
  fcm.answer = () => 'invalid';
  await deliver(1);
  await emptied();
  expect(fcm.received).toHaveLength(PACE.attempts + 1);
  expect(await dead()).toHaveLength(2);
});

test('a proxy that accepts and never answers: given up in time, counted, repeated; when it answers, sent once', async () => {
  let silent = true;
  const open = new Set<Socket>();
  const proxy = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket)).on('error', () => undefined);
    if (silent) return void socket.resume();
    const onwards = tcp(Number(new URL(fcm.proxyUrl).port), '127.0.0.1').on('error', () => undefined);
    socket.pipe(onwards).pipe(socket);
  });
  await new Promise<void>((listening) => proxy.listen(0, '127.0.0.1', listening));
  await pusher.stop(new AbortController().signal);
  const { port } = proxy.address() as AddressInfo;
  pusher = await start(`http://127.0.0.1:${port}`, { answerMs: 300, attempts: 1000 });
  await attach('laptop');
  await token('phone');
  await deliver(1);
  const unanswered = () => metrics.pushesFailed.of('no-answer').value;
  await until('given up several times', 15_000, unanswered, (n) => n >= 5);
  // What was given up is no connection any more: an hour of this would need them all.
  expect(open.size).toBeLessThanOrEqual(2);
  expect(await queued()).toBe(1);
  silent = false;
  await emptied();
  expect(fcm.sent('token-phone')).toHaveLength(1);
  expect(await dead()).toEqual([]);
  for (const socket of open) socket.destroy();
  await new Promise((closed) => proxy.close(closed));
});

test('a token that somebody else registered is not woken for its former owner', async () => {
  await attach('laptop');
  await token('phone', 'shared');
  const field = await store.command.hget(keys.devices('bob'), 'push:phone');
  await push.putDevice('eve', 'phone', { platform: 'android', token: 'shared' }, 8);
  await store.command.hset(keys.devices('bob'), 'push:phone', field ?? '', 'pushable', 'phone');
  await deliver(1);
  await emptied();
  expect(fcm.received).toEqual([]);
  expect(suppressed('moved')).toBe(1);
  expect(await store.command.hget(keys.devices('bob'), 'push:phone')).toBeNull();
});

test('a worker that stops hands back what it has not finished, and the next one does it', async () => {
  await attach('laptop');
  await token('phone');
  fcm.answer = () => 'internal';
  await deliver(1);
  await until('tried', 10_000, () => fcm.received.length > 0);
  await pusher.stop(new AbortController().signal);
  fcm.answer = () => 'ok';
  pusher = await start();
  await until('sent or dead', 15_000, async () => fcm.sent().length + (await dead()).length);
  await emptied();
});

test('a store that was away for longer than a lease: what was read before is sent when it is back, and does not wait until its reader looks dead', async () => {
  await pusher.stop(new AbortController().signal);
  const line = await TcpProxy.start(() => [server]);
  const behind = await connect(`redis://${line.address}`, { logger, name: 'pusher-away' });
  try {
    pusher = await start(fcm.proxyUrl, { waitMs: 5000, mostWaitMs: 5000 }, behind);
    await attach('laptop');
    await token('phone');
    await deliver(1);
    const pending = () => store.command.xpending(keys.push(BOB), 'pusher', '-', '+', 10) as Promise<string[][]>;
    const read = () => pending().catch(() => []); // its group is not made yet
    const [[id, reader] = []] = await until('it is read', 5_000, read, (entries) => entries.length === 1);
    logged.length = 0;
    line.refuse(true);
    const leave = /did not leave the partition cleanly/;
    await until('the partition is lost', 20_000, () => logged.some((text) => leave.test(text)));
    expect(fcm.received).toEqual([]);
    // As if it had been read just now: others leave it alone for 15 s from here.
    await store.command.call('XCLAIM', keys.push(BOB), 'pusher', reader!, 0, id!, 'IDLE', 0, 'JUSTID');
    line.refuse(false);
    await until('it is sent', 10_000, () => fcm.sent('token-phone').length);
    await emptied();
    expect(fcm.sent('token-phone')).toHaveLength(1);
  } finally {
    await pusher.stop(new AbortController().signal);
    await behind.close();
    await line.close();
    pusher = await start();
  }
}, 60_000);
