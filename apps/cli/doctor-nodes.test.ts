/** The doctor's look at a real cluster and at Sentinels, healthy and ill. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { type SentinelSetup, startSentinel } from '../../ops/redis/sentinel.ts';
import { until } from '../../ops/until.ts';
import type { Finding } from './doctor.ts';
import { spreadFinding } from './doctor-nodes.ts';

const folder = temporaryFolder('doctor');
const careful = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '2'];
let cluster: RedisCluster;
let sentinel: SentinelSetup;

beforeAll(async () => {
  [cluster, sentinel] = await Promise.all([
    startRedisCluster({ primaries: 3, replicasPerPrimary: 1, extraArgs: careful }),
    startSentinel({ replicas: 2 }),
  ]);
  const primaries = cluster.nodes.filter(({ role }) => role === 'primary');
  for (const [url, count] of [...primaries.map(({ url }) => [url, 1] as const), [sentinel.primary.url, 2] as const]) {
    const redis = new Redis(url);
    const info = async () => String(await redis.info('replication'));
    // A replica that has just been attached copies first, and says only after a second that it keeps up.
    const inStep = (text: string) =>
      [...text.matchAll(/state=online/g)].length === count && !/min_slaves_good_slaves:0/.test(text);
    await until('the replicas are in step', 30_000, info, inStep);
    redis.disconnect();
  }
}, 120_000);
afterAll(() => Promise.all([cluster?.stop(), sentinel?.stop()]));

async function doctor(env: NodeJS.ProcessEnv): Promise<{ all: Finding[]; of(part: string): Finding | undefined }> {
  const { PATH, HOME } = process.env;
  const all = await new Promise<Finding[]>((done) => {
    const options = {
      env: { PATH, HOME, MILLRACE_DATA: folder, ARCHIVE_URL: `sqlite:${folder}/none`, ...env },
    };
    const args = [join(import.meta.dirname, 'main.ts'), 'doctor', '--json'];
    execFile(process.execPath, args, options, (_error, stdout) => done(JSON.parse(stdout) as Finding[]));
  });
  // The worst of its kind.
  const of = (part: string) => {
    const some = all.filter(({ what }) => what.includes(part));
    return some.find(({ state }) => state !== 'ok') ?? some[0];
  };
  return { all, of };
}

test('replicas are counted against ACK_REPLICAS, and what is missing is told', async () => {
  const one = await doctor({ REDIS_URL: cluster.url, ACK_REPLICAS: '1' });
  // Enough to accept; the one that is promoted would have none.
  expect(one.of(', replicas')).toMatchObject({ state: 'warn', advice: expect.stringContaining('attach one more') });
  expect(one.of(', min-replicas')).toMatchObject({ state: 'ok', found: expect.stringContaining('max-lag 2') });
  expect(one.of('slots')).toMatchObject({ state: 'ok', found: expect.stringContaining('16384 slots') });
  expect(one.of('clocks of the nodes')).toMatchObject({ state: 'ok', found: expect.stringContaining('6 nodes') });

  const two = await doctor({ REDIS_URL: cluster.url, ACK_REPLICAS: '2' });
  expect(two.of(', replicas')).toMatchObject({ state: 'fail', advice: expect.stringContaining('unavailable') });
  const none = await doctor({ REDIS_URL: cluster.url });
  expect(none.of(', replicas')).toMatchObject({ state: 'warn', advice: expect.stringContaining('ACK_REPLICAS=1') });
});

test('behind Sentinels, a primary that may be cut off and go on is told how not to', async () => {
  const before = await doctor({ REDIS_URL: sentinel.url, ACK_REPLICAS: '1' });
  expect(before.of(', replicas')).toMatchObject({ state: 'ok', found: expect.stringContaining('2 in step') });
  expect(before.of(', min-replicas')).toMatchObject({
    state: 'warn',
    advice: expect.stringContaining('min-replicas-to-write 1'),
  });
  expect(before.of('clocks of the nodes')).toMatchObject({ state: 'ok', found: expect.stringContaining('3 nodes') });

  const redis = new Redis(sentinel.primary.url);
  await redis.config('SET', 'min-replicas-to-write', 1);
  expect((await doctor({ REDIS_URL: sentinel.url, ACK_REPLICAS: '1' })).of(', min-replicas')).toMatchObject({
    state: 'warn',
    found: expect.stringContaining('min-replicas-max-lag 10'),
  });
  await redis.config('SET', 'min-replicas-to-write', 3);
  expect((await doctor({ REDIS_URL: sentinel.url, ACK_REPLICAS: '1' })).of(', min-replicas')).toMatchObject({
    state: 'fail',
    found: expect.stringContaining('refuses writes'),
  });
  redis.disconnect();
});

test('a node that died is named, and so are slots that nobody serves', async () => {
  const [first] = cluster.nodes;
  const replica = cluster.nodes.find(({ role }) => role === 'replica')!;
  replica.kill('SIGKILL');
  const redis = new Redis(first!.url);
  await until(
    'the cluster knows',
    20_000,
    async () => String(await redis.cluster('NODES')),
    (text) => / \S*slave,fail /.test(text),
  );
  const { of } = await doctor({ REDIS_URL: cluster.url, ACK_REPLICAS: '1' });
  expect(of('slots')).toMatchObject({
    state: 'warn',
    found: expect.stringContaining(`dead: ${replica.host}:${replica.port}`),
  });
  expect(of(', replicas')).toMatchObject({ state: 'fail', found: expect.stringContaining('0 in step') });

  await redis.call('CLUSTER', 'DELSLOTS', 7);
  const ill = await doctor({ REDIS_URL: cluster.url, ACK_REPLICAS: '1' });
  const told = ill.all.find(({ state, advice }) => state === 'fail' && advice?.includes('--cluster check'));
  expect(told, JSON.stringify(ill.all)).toBeDefined();
  redis.disconnect();
}, 60_000);

test('clocks that surely differ are told, and a slow answer is not taken for one', () => {
  const clock = (node: string, least: number, most: number) => ({ node, least, most });
  expect(spreadFinding([clock('a', -40, 3), clock('b', -2, 500)])).toMatchObject({ state: 'ok' });
  expect(spreadFinding([clock('a', -2, 1), clock('b', 250, 251), clock('c', -3, 60)])).toMatchObject({
    state: 'warn',
    found: 'b is 249 ms ahead of a',
  });
  expect(spreadFinding([clock('a', -2001, -1999), clock('b', 0, 1)])).toMatchObject({
    state: 'fail',
    found: 'b is 1999 ms ahead of a',
    advice: expect.stringContaining('NTP'),
  });
});
