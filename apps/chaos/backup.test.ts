/** The commands of docs/backup.md, as they stand there: saved under traffic, everything destroyed, restored, and on. */
import { afterEach, expect, test } from 'vitest';
import { openArchive } from '../../lib/archive/index.ts';
import { createLogger } from '../../lib/telemetry/index.ts';
import { Deployment } from '../../ops/deployment.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { freePort } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { cassandra, sqlite } from './backup/archives.ts';
import { cluster, oneRedis, underSentinel } from './backup/redis.ts';
import type { Store } from './backup/store.ts';
import { type Sent, Traffic } from './traffic.ts';

const RATE = 200;

interface Stores {
  what: string;
  redis: (folder: string) => Promise<Store>;
  archive: (folder: string) => Store | Promise<Store>;
}

const STORES: readonly Stores[] = [
  { what: 'one Redis and SQLite', redis: oneRedis, archive: sqlite },
  { what: 'a Redis Cluster and SQLite', redis: cluster, archive: sqlite },
];
/** With `CHAOS=full`: a Cassandra is started twice, and each `nodetool` is a Java of its own. */
const MORE: readonly Stores[] = [{ what: 'Sentinel and Cassandra', redis: underSentinel, archive: cassandra }];

let redis: Store | undefined;
let archive: Store | undefined;
let deployments: Deployment[] = [];
let traffic: Traffic | undefined;

afterEach(async () => {
  await traffic?.close();
  await Promise.all(deployments.map((deployment) => deployment.stop()));
  await Promise.all([redis?.stop(), archive?.stop()]);
  traffic = redis = archive = undefined;
}, 60_000);

test.each(process.env.CHAOS === 'full' ? [...STORES, ...MORE] : STORES)(
  'what was accepted before the backup is there again, and clients that lived through it go on: $what',
  comesBack,
  240_000,
);

async function comesBack(stores: Stores): Promise<void> {
  const folder = temporaryFolder('backup');
  const port = await freePort();
  [redis, archive] = await Promise.all([stores.redis(folder), stores.archive(folder)]);
  traffic = await startTraffic(await startMillrace(port));

  traffic.start(RATE);
  await sent(300);
  await archive.save();
  // These are archived before Redis is saved: its copy says so, and the archive's does not have them.
  await sent(100);
  const saved = [...traffic.sent];
  await until('they are archived', 30_000, () => archived(saved));
  await redis.save();
  await sent(300);
  await traffic.stop();
  await until(
    'all is shown',
    30_000,
    () => traffic!.wrong(),
    (wrong) => wrong.length === 0,
  );

  // Everything, and at once.
  for (const deployment of deployments) for (const one of deployment.processes) await one.kill('SIGKILL');
  await Promise.all([redis.lose(), archive.lose()]);

  await archive.restore();
  await redis.restore();
  const before = traffic.sent.length;
  await startMillrace(port);
  traffic.start(RATE);
  await sent(300);
  await traffic.stop();
  const after = traffic.sent.slice(before);
  await until(
    'what was sent since is shown once',
    60_000,
    () => traffic!.wrong(after),
    (wrong) => wrong.length === 0,
  );
  expect(traffic.disorder()).toEqual([]);
  expect(traffic.refused).toEqual([]);

  // History shows them from the log, too: not for ever.
  await until('all of it is in the archive', 30_000, () => archived([...saved, ...after]));
  for (const channel of traffic.channels.keys()) {
    await historyIsRight(
      channel,
      [...saved, ...after].filter((one) => one.channel === channel),
    );
  }
}

/** The address of its gateway. Clients know it by its port. */
async function startMillrace(port: number): Promise<{ address: string }> {
  const options = { redisUrl: redis!.url, archiveUrl: archive!.url };
  const front = new Deployment({ ...options, env: { PORT: String(port) } });
  const workers = new Deployment(options);
  deployments = [front, workers];
  const [gateway] = await Promise.all([front.start('gateway'), workers.start('fanout', 'archiver')]);
  return gateway;
}

async function startTraffic(gateway: { address: string }): Promise<Traffic> {
  const traffic = new Traffic({ deployment: deployments[0]!, gateways: [gateway], users: 8, groups: 2 });
  await traffic.connect();
  return traffic;
}

function sent(more: number): Promise<number> {
  const end = traffic!.sent.length + more;
  return until(
    `${more} more are accepted`,
    60_000,
    () => traffic!.sent.length,
    (count) => count >= end,
  );
}

async function archived(sent: readonly Sent[]): Promise<boolean> {
  const opened = await openArchive(archive!.url, { logger: createLogger({ name: 'test', level: 'silent' }) });
  try {
    const ids = new Set<string>();
    for (const channel of traffic!.channels.keys()) {
      for (const { id } of await opened.page(channel, { after: 0, limit: 10_000, order: 'oldest' })) ids.add(id);
    }
    return sent.every(({ id }) => ids.has(id));
  } finally {
    await opened.close();
  }
}

/** Over a gateway: what is wanted is there under its number, no number is there twice, and nothing is said to be missing. */
async function historyIsRight(channel: string, wanted: readonly Sent[]): Promise<void> {
  const [member] = traffic!.channels.get(channel)!;
  const reader = traffic!.clients[traffic!.users.indexOf(member!)]!;
  const found = new Map<string, number>();
  let complete = 0;
  for (let from = 0; ; ) {
    const { messages, last_seq, complete_to } = await reader.history(channel, { after: from, limit: 200 });
    for (const { id, seq } of messages) found.set(id, seq);
    complete = complete_to;
    from = messages.at(-1)?.seq ?? last_seq;
    if (from >= last_seq) break;
  }
  for (const { id, seq } of wanted) expect(found.get(id), `${channel} ${seq}`).toBe(seq);
  expect(complete, `${channel} is told to be complete`).toBe(Math.max(...found.values()));
  expect(new Set(found.values()).size, `${channel}: a number given out twice`).toBe(found.size);
}
