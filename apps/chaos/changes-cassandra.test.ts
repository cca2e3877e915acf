/**
 * Edits, deletions and erasures on a real Cassandra, while it is away, and archivers and gateways are killed in the
 * middle: what was replaced, deleted or erased never comes back.
 */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Archive, type ArchiveRow, openArchive } from '../../lib/archive/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { createLogger } from '../../lib/telemetry/index.ts';
import { type Cassandra, startCassandra } from '../../ops/cassandra/cassandra.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { type HistoryPage, stale, unarchived, Writer } from './writers.ts';

/**
 * `CHAOS=full`: Cassandra is killed and started again, too (see also cassandra.test.ts), and the user who is erased has
 * written the 10,000 messages for which a minute is promised.
 */
const FULL = process.env.CHAOS === 'full';
const WITHIN_MS = 60_000;
const FRIENDS = FULL ? 500 : 150;
/** The last of them is the friend's. */
const EACH = FULL ? 21 : 4;
const keys = keyspace(16);
const root = fileURLToPath(new URL('../../', import.meta.url));
const dir = temporaryFolder('cassandra-changes');

let cassandra: Cassandra;
let server: RedisServer;
let redis: Redis;
let deployment: Deployment;
let archiver: MillraceProcess;

beforeAll(async () => {
  [cassandra, server] = await Promise.all([startCassandra({ dir }), startRedis()]);
  await promisify(execFile)(process.execPath, ['apps/cli/main.ts', 'schema'], {
    cwd: root,
    env: { ...process.env, ARCHIVE_URL: cassandra.url },
  });
  redis = new Redis(server.url);
  const env = { PARTITIONS: String(keys.partitions) };
  deployment = new Deployment({ redisUrl: server.url, archiveUrl: cassandra.url, env });
  await deployment.start('fanout');
  archiver = await deployment.start('archiver');
}, 180_000);
afterAll(async () => {
  redis?.disconnect();
  await deployment?.stop();
  await Promise.all([server?.stop(), cassandra?.stop()]);
}, 60_000);

async function call<T>(gateway: MillraceProcess, token: string, line: string): Promise<T> {
  const [method = '', path = ''] = line.split(' ');
  const response = await fetch(gateway.address + path, { method, headers: { authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`${line}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

/** SIGKILL, and another in its place. */
async function killArchiver(): Promise<void> {
  await archiver.kill('SIGKILL');
  archiver = await deployment.start('archiver');
}

async function withArchive<T>(work: (archive: Archive) => Promise<T>): Promise<T> {
  const archive = await openArchive(cassandra.url, { logger: createLogger({ name: 'test', level: 'silent' }) });
  try {
    return await work(archive);
  } finally {
    await archive.close();
  }
}

it('edits and deletions while Cassandra is away and archivers are killed: no reader meets an old text', async () => {
  const gateways = await Promise.all([deployment.start('gateway'), deployment.start('gateway')]);
  const [first, second] = gateways as [MillraceProcess, MillraceProcess];
  const writers = [0, 1, 2, 3].map((n) => new Writer(deployment, n % 2 ? second : first, n));
  await Promise.all(writers.map((writer) => writer.begin()));
  const channels = writers.map(({ channel }) => channel);
  const all = () => unarchived(channels, redis, keys);
  await until('the beginning is archived', WITHIN_MS, all, (behind) => behind.length === 0);

  let over = false;
  const reader = deployment.token('reader');
  const look = (writer: Writer, gateway: MillraceProcess) =>
    stale(writer, (line) => call<HistoryPage>(gateway, reader, line));
  const wrong: string[] = [];
  let reads = 0;
  const read = async (gateway: MillraceProcess) => {
    while (!over) {
      for (const writer of writers) wrong.push(...(await look(writer, gateway)));
      reads++;
      await sleep(100); // a look is four pages; Cassandra has other work
    }
  };
  const positions = () => redis.hget(keys.positions(keys.partitionOf(channels[0] ?? '')), 'archiver');
  const works = async () => {
    const before = await positions();
    await until('the archiver works', WITHIN_MS, positions, (now) => now !== before);
  };
  const outages = async () => {
    await works();
    // A batch is on its way, nobody answers, and who sent it dies: it is written when Cassandra wakes.
    cassandra.kill('SIGSTOP');
    // How long the outage is: six of the archiver's rounds, so that one of them has sent its batch.
    await sleep(1500);
    await killArchiver();
    cassandra.kill('SIGCONT');
    await works();
    if (FULL) {
      cassandra.kill('SIGKILL');
      await cassandra.stop();
      await sleep(3000); // how long it is dead
      cassandra = await startCassandra({ dir });
      await works();
    }
    await killArchiver();
    await sleep(1000); // readers go on for a while: a late batch would show only now
    over = true;
  };
  await Promise.all([...writers.map((writer) => writer.work(() => over)), ...gateways.map(read), outages()]);
  expect(wrong.slice(0, 10)).toEqual([]);
  expect(reads).toBeGreaterThan(4);
  const changes = writers.reduce((sum, writer) => sum + writer.changes, 0);
  expect(changes).toBeGreaterThan(100);

  await until('all is archived', 2 * WITHIN_MS, all, (behind) => behind.length === 0);
  for (const writer of writers) expect(await look(writer, second)).toEqual([]);
  // And in the archive itself, whatever the log still has.
  await withArchive(async (archive) => {
    for (const { channel, messages, gone } of writers) {
      const rows = await everything(archive, channel);
      const texts = new Map(rows.map((row) => [row.seq, row]));
      for (const { seq } of gone) expect(texts.get(seq)?.content).toBeUndefined();
      for (const { seq, version } of messages) expect(texts.get(seq)?.content).toMatch(new RegExp(`^v${version} `));
    }
  });
  await Promise.all(writers.map((writer) => writer.close()));
  await Promise.all(gateways.map((gateway) => gateway.stop()));
}, 240_000);

it('an erasure goes on after its gateway and, in the middle of the archive, its archiver were killed; a replay of the log brings nothing back', async () => {
  const gateway = await deployment.start('gateway');
  const verbs = new Verbs(redis, keys);
  const friends = Array.from({ length: FRIENDS }, (_, i) => `friend-${i}`);
  const channels = friends.map((friend) => `dm:${friend}:zoe`);
  await Promise.all(
    channels.map(async (channel, c) => {
      for (let i = 0; i < EACH; i++) {
        const n = c * EACH + i;
        const [clientId, id] = [`z${n}`, `${n.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`];
        const [content, from] = [`secret ${n}`, i === EACH - 1 ? (friends[c] ?? '') : 'zoe'];
        const message = { channel, from, clientId, id, content, snippet: content };
        await verbs.append({ ...message, kind: 'direct', mayCreate: true });
      }
    }),
  );
  await until(
    'all is archived',
    WITHIN_MS,
    () => unarchived(channels, redis, keys),
    (behind) => behind.length === 0,
  );

  await withArchive(async (archive) => {
    const erased = async () => {
      const rows = await Promise.all(channels.map((channel) => everything(archive, channel)));
      return rows.filter(([one]) => one?.deleted).length;
    };
    const operator = deployment.token('operator', { admin: true });
    await archiver.stop();
    const startedAt = performance.now();
    const elapsed = () => performance.now() - startedAt;
    await call(gateway, operator, 'DELETE /v1/users/zoe');
    await gateway.kill('SIGKILL');
    archiver = await deployment.start('archiver');
    await until('it is in the middle', WITHIN_MS, erased, (count) => count > 0);
    await archiver.kill('SIGKILL');
    const half = await erased();
    expect(await redis.hget(keys.erasure('zoe'), 'state')).toBe('running');
    expect(half).toBeGreaterThan(0);
    expect(half).toBeLessThan(FRIENDS);

    const [other] = await Promise.all([deployment.start('gateway'), deployment.start('archiver').then(took)]);
    const state = () => call<{ state: string }>(other, operator, 'GET /v1/users/zoe/erasure');
    await until('zoe is erased', WITHIN_MS - elapsed(), state, (answer) => answer.state === 'done');
    const messages = FRIENDS * (EACH - 1);
    console.log(
      `${messages} messages were erased in ${(elapsed() / 1000).toFixed(1)} s, with the archiver killed in the middle`,
    );
    const nothingLeft = async () => {
      for (const [c, channel] of channels.entries()) {
        const rows = await everything(archive, channel);
        expect(rows.map(({ from, content }) => [from, content])).toEqual([
          ...Array.from({ length: EACH - 1 }, () => ['zoe', undefined]),
          [friends[c], `secret ${c * EACH + EACH - 1}`],
        ]);
      }
      for (const friend of friends.slice(0, 10)) {
        const line = `GET /v1/channels/dm:${friend}:zoe/messages?limit=200`;
        const { messages } = await call<HistoryPage>(other, deployment.token(friend), line);
        expect(messages.filter(({ deleted, content }) => deleted && content === undefined)).toHaveLength(EACH - 1);
        expect(messages.filter(({ content }) => content !== undefined)).toHaveLength(1);
      }
    };
    await nothingLeft();

    // What an archiver does that was set back to the beginning of the logs.
    await archiver.stop();
    const marks = Array.from({ length: keys.partitions }, (_, p) => keys.positions(p));
    expect(await redis.xlen(keys.log(keys.partitionOf(channels[0] ?? '')))).toBeGreaterThan(EACH);
    await Promise.all(marks.map((mark) => redis.hdel(mark, 'archiver')));
    archiver = await deployment.start('archiver');
    await until(
      'the logs are replayed',
      WITHIN_MS,
      () => unarchived(channels, redis, keys),
      (behind) => behind.length === 0,
    );
    await nothingLeft();
  });
}, 240_000);

const took = (started: MillraceProcess) => {
  archiver = started;
};

async function everything(archive: Archive, channel: string): Promise<ArchiveRow[]> {
  const rows: ArchiveRow[] = [];
  for (;;) {
    const page = await archive.page(channel, { after: rows.at(-1)?.seq ?? 0, limit: 500, order: 'oldest' });
    rows.push(...page);
    if (page.length < 500) return rows;
  }
}
