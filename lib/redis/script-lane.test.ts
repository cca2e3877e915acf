/** What is answered is durable (design, rule 3): a real primary, a replica that freezes, a connection that breaks. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { keys, message } from '../../lua/harness.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { born } from '../../ops/redis/born.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { connect, type RedisStore } from './connect.ts';
import { NotReplicatedError } from './errors.ts';
import { LogFollower } from './follow.ts';
import { ReceiptVerbs } from './receipt-verbs.ts';
import { isRetryable } from './retryable.ts';
import { ScriptLanes } from './script-lane.ts';
import { Verbs } from './verbs.ts';

const CHANNEL = 'dm:alice:bob';
const logger = pino({ level: 'silent' });
let primary: RedisServer;
let replica: RedisServer;
let proxy: TcpProxy;
let store: RedisStore;
let control: Redis;
let verbs: Verbs;
let lanes: ScriptLanes;

beforeAll(async () => {
  primary = await startRedis();
  replica = await startRedis({ extraArgs: ['--replicaof', primary.host, String(primary.port)] });
  proxy = await TcpProxy.start(() => [primary]);
  control = new Redis(primary.url);
  await until(
    'the replica is attached',
    20_000,
    () => control.wait(1, 100),
    (acked) => acked === 1,
  );
});
beforeEach(async () => {
  await control.flushall();
  await born(control, keys);
  store = await connect(`redis://${proxy.address}`, { name: 'test', logger });
  lanes = new ScriptLanes(store, keys, 1);
  verbs = new Verbs(store.command, keys, undefined, lanes);
});
afterEach(async () => {
  replica.kill('SIGCONT');
  proxy.release('down');
  await store.close();
});
afterAll(async () => {
  control.disconnect();
  await proxy.close();
  await replica.stop();
  await primary.stop();
});

const waits = async () => Number(/cmdstat_wait:calls=(\d+)/.exec(await control.info('commandstats'))?.[1] ?? 0);
const caught = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

test('what is answered is on a replica, and calls that come together share a WAIT', async () => {
  await verbs.append(message('alice', CHANNEL, 'first'));
  const onReplica = new Redis(replica.url);
  expect(await onReplica.xlen(keys.log(keys.partitionOf(CHANNEL)))).toBe(1);
  onReplica.disconnect();

  const before = await waits();
  await Promise.all(Array.from({ length: 31 }, (_, i) => verbs.append(message('alice', CHANNEL, `c${i}`))));
  // The first went alone, the others in two rounds of sixteen at most.
  expect((await waits()) - before).toBeLessThanOrEqual(3);
});

test('a replica that stands still: nothing is answered, not the repeat either, and both may be tried again', async () => {
  await verbs.append(message('alice', CHANNEL, 'first'));
  replica.kill('SIGSTOP');
  const refusal = await caught(verbs.append(message('alice', CHANNEL, 'second')));
  expect(refusal).toBeInstanceOf(NotReplicatedError);
  expect(isRetryable(refusal)).toBe(true);
  expect(await caught(verbs.append(message('alice', CHANNEL, 'second')))).toBeInstanceOf(NotReplicatedError);
  expect(await caught(lanes.confirm(CHANNEL, 2))).toBeInstanceOf(NotReplicatedError);
  replica.kill('SIGCONT');
  expect(await verbs.append(message('alice', CHANNEL, 'second'))).toMatchObject({ seq: 2, duplicate: true });
  await lanes.confirm(CHANNEL, 2);
  // Another server's answer: it does not have what was read.
  expect(await caught(lanes.confirm(CHANNEL, 3))).toBeInstanceOf(NotReplicatedError);
});

test('a connection that breaks between a call and its WAIT is no answer, and the WAIT is not asked again', async () => {
  await verbs.append(message('alice', CHANNEL, 'first'));
  const before = await waits();
  proxy.hold('down');
  const lost = caught(verbs.append(message('alice', CHANNEL, 'second')));
  await until(
    'the answer is held',
    5000,
    () => proxy.heldBytes('down'),
    (bytes) => bytes > 0,
  );
  proxy.cut();
  proxy.release('down');
  const error = await lost;
  expect(error).toBeInstanceOf(Error);
  expect(isRetryable(error)).toBe(true);
  expect((await waits()) - before).toBeLessThanOrEqual(1);
  const repeated = () => verbs.append(message('alice', CHANNEL, 'second')).catch(() => undefined);
  expect(await until('it is connected again', 10_000, repeated, (reply) => reply !== undefined)).toMatchObject({
    seq: 2,
    duplicate: true,
  });
});

test('a log entry that no replica has is not handled before one has it', async () => {
  const handled: string[] = [];
  let retries = 0;
  const follower = new LogFollower({
    store,
    partitions: keys.partitions,
    replicas: 1,
    logKey: keys.log,
    logger,
    count: 100,
    intervalMs: () => 0,
    handle: async (batches) => void handled.push(...batches.flatMap(({ entries }) => entries.map(({ id }) => id))),
    onRound: () => undefined,
    onRetry: () => retries++,
  });
  follower.add(keys.partitionOf(CHANNEL), '0-0');
  await verbs.append(message('alice', CHANNEL, 'first'));
  await until(
    'the first is handled',
    5000,
    () => handled.length,
    (n) => n === 1,
  );

  replica.kill('SIGSTOP');
  const refused = caught(verbs.append(message('alice', CHANNEL, 'second')));
  await until(
    'the follower has read and waited in vain',
    10_000,
    () => retries,
    (n) => n > 0,
  );
  expect(handled).toHaveLength(1);
  expect(await refused).toBeInstanceOf(NotReplicatedError);
  replica.kill('SIGCONT');
  await until(
    'the second is handled',
    10_000,
    () => handled.length,
    (n) => n === 2,
  );
  await follower.stop();
});

test('a connection that breaks: all that queue behind its call are told at once, and none of them is called on another', async () => {
  await verbs.append(message('alice', CHANNEL, 'first'));
  const before = await waits();
  proxy.hold('down');
  const lost = Array.from({ length: 40 }, (_, i) => caught(verbs.append(message('alice', CHANNEL, `lost-${i}`))));
  await until(
    'the answer of the first is held, the others queue',
    5000,
    () => proxy.heldBytes('down'),
    (bytes) => bytes > 0,
  );
  proxy.cut();
  proxy.release('down');
  for (const error of await Promise.all(lost)) expect(error).toSatisfy(isRetryable);
  expect((await waits()) - before).toBeLessThanOrEqual(1);
  expect(await control.xlen(keys.log(keys.partitionOf(CHANNEL)))).toBeLessThanOrEqual(2);
});

test('what is called for every message goes past the shared connection, and waits for no replica but to append', async () => {
  await verbs.append(message('alice', CHANNEL, 'first'));
  const before = await waits();
  replica.kill('SIGSTOP');
  const evalsha = vi.spyOn(store.command, 'evalsha');
  const receipts = new ReceiptVerbs(store.command, keys, undefined, lanes);
  const target = keys.partitionOf('bob');
  await verbs.deliver([{ source: 0, target, after: '0-0', last: '1-0', floor: false, deliveries: [] }]);
  await verbs.ack([{ user: 'bob', device: 'd', offset: '1-0' }]);
  const mark = { channel: CHANNEL, user: 'bob', delivered: 1, read: 0 };
  expect(await receipts.raise([{ ...mark, peer: 'alice' }])).toMatchObject([{ grown: true }]);
  await receipts.tell([{ ...mark, to: 'alice', via: '' }]);
  expect(evalsha).not.toHaveBeenCalled();
  expect(await waits()).toBe(before);
});
