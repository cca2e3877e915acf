/** The whole path behind Sentinel: a first message, and one failover. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type SentinelSetup, startSentinel } from '../../ops/redis/sentinel.ts';
import { until } from '../../ops/until.ts';
import { Traffic } from './traffic.ts';

let sentinel: SentinelSetup;
let deployment: Deployment;
let gateway: MillraceProcess;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'));
  sentinel = await startSentinel({ replicas: 1 });
  deployment = new Deployment({
    redisUrl: sentinel.url,
    archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}`,
  });
  await deployment.start('fanout', 'archiver');
  gateway = await deployment.start('gateway');
}, 60_000);

afterAll(async () => {
  await deployment?.stop();
  await sentinel?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

it('carries messages, and flows again after the primary was killed', async () => {
  const traffic = new Traffic({ deployment, gateways: [gateway], users: 10, groups: 2 });
  await traffic.connect();
  await traffic.everywhere();
  await until(
    'everybody was shown everything',
    10_000,
    () => traffic.wrong(),
    (wrong) => wrong.length === 0,
  );
  expect(traffic.disorder()).toEqual([]);

  traffic.start(100);
  await until('traffic flows', 10_000, () => traffic.sent.length > 100);
  const heir = new Redis({ host: sentinel.replicas[0]!.host, port: sentinel.replicas[0]!.port });
  try {
    sentinel.primary.kill('SIGKILL');
    await until(
      'the replica is promoted',
      20_000,
      async () => String((await heir.role())[0]),
      (role) => role === 'master',
    );
  } finally {
    heir.disconnect();
  }
  const promotedAt = performance.now();
  await traffic.everywhere();
  await traffic.stop();
  await traffic.everywhere();
  const after = traffic.sent.filter(({ sentAt }) => sentAt > promotedAt);
  await until(
    'everything sent after the promotion was shown',
    30_000,
    () => traffic.wrong(after),
    (wrong) => wrong.length === 0,
  );
  expect(traffic.refused).toEqual([]);
  expect(deployment.processes.size).toBe(2);
  const [channel, members] = [...traffic.channels][0]!;
  const history = await traffic.clients[traffic.users.indexOf(members[0]!)]!.history(channel, { limit: 200 });
  expect(history.complete_to).toBe(history.last_seq);
  await traffic.close();
}, 90_000);
