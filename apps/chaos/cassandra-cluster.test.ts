/**
 * The archive on three Cassandra nodes with a replica on each: LOCAL_QUORUM is two of them. Takes two minutes and three
 * gigabytes, so it runs with `CHAOS=full` only.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openArchive } from '../../lib/archive/index.ts';
import { createLogger } from '../../lib/telemetry/index.ts';
import { type CassandraCluster, startCassandraCluster } from '../../ops/cassandra/cluster.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { Traffic } from './traffic.ts';

const full = process.env.CHAOS === 'full';
const RATE = 200;

let cassandra: CassandraCluster;
let redis: RedisServer;
let deployment: Deployment;
let gateways: MillraceProcess[];
let archiver: MillraceProcess;
let traffic: Traffic;

beforeAll(async () => {
  if (!full) return;
  [cassandra, redis] = await Promise.all([startCassandraCluster({ nodes: 3 }), startRedis()]);
  await withArchive((archive) => archive.applySchema());
  deployment = new Deployment({ redisUrl: redis.url, archiveUrl: cassandra.url });
  gateways = await Promise.all([deployment.start('gateway'), deployment.start('gateway')]);
  await deployment.start('fanout');
  archiver = await deployment.start('archiver');
  traffic = new Traffic({ deployment, gateways, users: 20, groups: 4 });
  await traffic.connect();
  traffic.start(RATE);
}, 240_000);

afterAll(async () => {
  await traffic?.close();
  await deployment?.stop();
  await Promise.all([redis?.stop(), cassandra?.stop()]);
}, 60_000);

test.runIf(full)(
  'with a node of three killed under traffic the archiver goes on',
  async () => {
    await archivedUpToNow();
    cassandra.nodes[1]!.kill('SIGKILL');
    await archivedUpToNow();
    // Longer than it takes the others to call it dead.
    await sent(RATE * 20);
    await archivedUpToNow();
    expect(await archiveSeenBy(gateways[0]!)).toBe('ok');
  },
  240_000,
);

test.runIf(full)(
  'the node comes back, the next one dies, and history is read right from the two',
  async () => {
    await cassandra.revive(1);
    // The first of the URL, too: whoever starts now has to find the others.
    cassandra.nodes[0]!.kill('SIGKILL');
    await archivedUpToNow();
    const late = await deployment.start('gateway');
    await until(
      'the gateway that starts now finds the others',
      30_000,
      () => archiveSeenBy(late),
      (state) => state === 'ok',
    );
    await late.stop();
    await historyIsRight();
  },
  240_000,
);

test.runIf(full)(
  'with two nodes dead nothing is archived, or lost, until one is back',
  async () => {
    cassandra.nodes[2]!.kill('SIGKILL');
    await until(
      'the gateway names the archive',
      30_000,
      () => archiveSeenBy(gateways[0]!),
      (state) => state !== 'ok',
    );
    const before = await written();
    await sent(RATE * 5);
    expect(await written()).toBeLessThan(before + RATE * 5);
    await cassandra.revive(2);
    await archivedUpToNow();
    await traffic.stop();
    await historyIsRight();
    expect(traffic.refused).toEqual([]);
    await until(
      'everybody was shown everything',
      30_000,
      () => traffic.wrong(),
      (wrong) => wrong.length === 0,
    );
    expect(traffic.disorder()).toEqual([]);
  },
  240_000,
);

async function withArchive<T>(use: (archive: Awaited<ReturnType<typeof openArchive>>) => Promise<T>): Promise<T> {
  const archive = await openArchive(cassandra.url, { logger: createLogger({ name: 'test', level: 'silent' }) });
  try {
    return await use(archive);
  } finally {
    await archive.close();
  }
}

/** Traffic goes on: this many more. */
async function sent(more: number): Promise<void> {
  const end = traffic.sent.length + more;
  await until(
    `${more} more are accepted`,
    120_000,
    () => traffic.sent.length,
    (count) => count >= end,
  );
}

/** Everything that is accepted by now. The archive itself is not asked: that would cost it what it needs. */
async function archivedUpToNow(): Promise<void> {
  const accepted = traffic.sent.length;
  await until('the archiver has what is accepted', 90_000, written, (rows) => rows >= accepted);
}

/** Rows that the archiver has written. */
async function written(): Promise<number> {
  const text = await (await fetch(`${archiver.address}/metrics`)).text();
  return Number(/^millrace_archive_batch_rows_sum (\S+)$/m.exec(text)?.[1] ?? 0);
}

async function archiveSeenBy(process: MillraceProcess): Promise<string | undefined> {
  const response = await fetch(`${process.address}/readyz`);
  expect(response.status).toBe(200);
  return ((await response.json()) as { parts: Record<string, string> }).parts.archive;
}

/** Each channel's history, read over a gateway: every accepted message once, at its place, and nothing else. */
async function historyIsRight(): Promise<void> {
  const accepted = [...traffic.sent];
  for (const [channel, [member]] of traffic.channels) {
    const reader = traffic.clients[traffic.users.indexOf(member!)]!;
    const known = new Map(accepted.filter((one) => one.channel === channel).map(({ seq, id }) => [seq, id]));
    const last = Math.max(...known.keys());
    const found = new Map<number, string>();
    for (let after = 0; after < last; ) {
      const { messages } = await reader.history(channel, { after, limit: 200 });
      for (const { seq, id } of messages) {
        expect(found.has(seq), `${channel} ${seq} twice`).toBe(false);
        found.set(seq, id);
      }
      expect(messages.map(({ seq }) => seq)).toEqual(messages.map((_, i) => after + 1 + i));
      after += messages.length;
    }
    for (const [seq, id] of known) expect(found.get(seq), `${channel} ${seq}`).toBe(id);
  }
}
