/**
 * The archive on a real Cassandra, end to end: a message's way into it, and an outage in three forms (frozen, killed,
 * away) under traffic. `MILLRACE_OUTAGE_S` and `MILLRACE_OUTAGE_RATE` make it longer and harder than in `npm test`.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Archive, type ArchiveRow, openArchive } from '../../lib/archive/index.ts';
import { createLogger } from '../../lib/telemetry/index.ts';
import { type Cassandra, startCassandra } from '../../ops/cassandra/cassandra.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { Traffic } from './traffic.ts';

const OUTAGE_S = Number(process.env.MILLRACE_OUTAGE_S ?? 10);
const RATE = Number(process.env.MILLRACE_OUTAGE_RATE ?? 200);
/** Longer than a worker may go without a completed round. */
const FROZEN_S = 7;
const root = fileURLToPath(new URL('../../', import.meta.url));

let cassandra: Cassandra;
let redis: RedisServer;
let deployment: Deployment;
let gateways: MillraceProcess[];
let archiver: MillraceProcess;
let archive: Archive;
const dir = temporaryFolder('cassandra-kept');

beforeAll(async () => {
  [cassandra, redis] = await Promise.all([startCassandra({ dir }), startRedis()]);
  deployment = new Deployment({ redisUrl: redis.url, archiveUrl: cassandra.url });
  gateways = await Promise.all([deployment.start('gateway'), deployment.start('gateway')]);
  await deployment.start('fanout');
  archiver = await deployment.start('archiver');
  archive = await openArchive(cassandra.url, { logger: createLogger({ name: 'test', level: 'silent' }) });
}, 180_000);

afterAll(async () => {
  await archive?.close();
  await deployment?.stop();
  await Promise.all([redis?.stop(), cassandra?.stop()]);
}, 60_000);

async function readiness(process: MillraceProcess): Promise<{ status: number; body: string }> {
  const response = await fetch(`${process.address}/readyz`);
  return { status: response.status, body: await response.text() };
}

async function archived(channel: string): Promise<ArchiveRow[]> {
  const rows: ArchiveRow[] = [];
  for (;;) {
    const page = await archive.page(channel, { after: rows.at(-1)?.seq ?? 0, limit: 1_000, order: 'oldest' });
    rows.push(...page);
    if (page.length < 1_000) return rows;
  }
}

async function archivedCount(channels: Iterable<string>): Promise<number> {
  const heads = await Promise.all([...channels].map((channel) => archive.lastSeq(channel)));
  return heads.reduce((sum, seq) => sum + seq, 0);
}

describe('history in Cassandra', () => {
  it('works without a schema, and has everything once the operator applied it', async () => {
    const traffic = new Traffic({ deployment, gateways, users: 6, groups: 2, prefix: 'first' });
    await traffic.connect();
    await traffic.everywhere();
    expect(await readiness(gateways[0]!)).toMatchObject({ status: 200, body: expect.stringContaining('unreachable') });

    const { stdout } = await promisify(execFile)(process.execPath, ['apps/cli/main.ts', 'schema'], {
      cwd: root,
      env: { ...process.env, ARCHIVE_URL: cassandra.url },
    });
    expect(stdout).toContain('applied');
    await traffic.everywhere();
    await until(
      'everybody was shown everything',
      10_000,
      () => traffic.wrong(),
      (wrong) => wrong.length === 0,
    );
    const all = traffic.sent.length + 2; // and the groups' `created`
    await until(
      'all is archived',
      15_000,
      () => archivedCount(traffic.channels.keys()),
      (count) => count === all,
    );
    for (const [channel, members] of traffic.channels) {
      const rows = await archived(channel);
      const expected = traffic.sent.filter((sent) => sent.channel === channel);
      expect(rows.map(({ seq }) => seq)).toEqual(rows.map((_, i) => i + 1));
      expect(new Set(rows.filter(({ type }) => type === 'message').map(({ id }) => id))).toEqual(
        new Set(expected.map(({ id }) => id)),
      );
      const reader = traffic.clients[traffic.users.indexOf(members[0]!)]!;
      const history = await reader.history(channel, { after: 0, limit: 200 });
      expect(history.messages.map(({ seq }) => seq)).toEqual(rows.map(({ seq }) => seq));
      expect(history.complete_to).toBe(history.last_seq);
    }
    expect(await readiness(gateways[0]!)).toMatchObject({ status: 200, body: expect.not.stringContaining('unreach') });
    expect(await archive.channelsOf('first-000')).toHaveLength(3);
    await traffic.close();
  });

  it(
    `is complete after ${OUTAGE_S} s without Cassandra at ${RATE} messages/s`,
    async () => {
      const traffic = new Traffic({ deployment, gateways, users: 20, groups: 4, prefix: 'outage' });
      await traffic.connect();
      const channels = [...traffic.channels.keys()];
      // More than a page may walk back in the log.
      const long = channels.find((name) => name.startsWith('g:'))!;
      for (let i = 0; i < 220; i++) for (const user of traffic.channels.get(long)!) traffic.send(long, user);
      await traffic.settle();
      traffic.start(RATE);
      await until(
        'the archive follows',
        20_000,
        () => archivedCount(channels),
        (count) => count > 1_100 + RATE,
      );

      const sentBefore = traffic.sent.length;
      const writtenBefore = await written();
      // Frozen: sockets stay open and nothing answers.
      const beganAt = performance.now();
      cassandra.kill('SIGSTOP');
      const frozenUntil = beganAt + Math.min(FROZEN_S, OUTAGE_S * 0.7) * 1000;
      const named = await until(
        'the gateway names the archive',
        5_000,
        () => readiness(gateways[0]!),
        ({ body }) => body.includes('unreachable'),
      );
      expect(named.status).toBe(200);
      await until(
        'the archiver’s lag is seen',
        5_000,
        () => lag(),
        (seconds) => seconds > 1,
      );
      await until('the freeze is over', 30_000, () => performance.now() > frozenUntil);
      // Away: connections are refused. Killed, so that it has to find its data again.
      cassandra.kill('SIGKILL');
      await cassandra.stop();

      const reader = traffic.clients[0]!;
      const channel = channels.find((name) => name.includes(traffic.users[0]!))!;
      let olderAsked = 0;
      while (performance.now() - beganAt < OUTAGE_S * 1000) {
        // What is in the log is read from there; what is not is not claimed.
        const newest = await reader.history(channel, { limit: 50 });
        expect(newest.messages[0]?.seq).toBe(newest.last_seq);
        expect(newest.messages.length).toBe(Math.min(50, newest.last_seq));
        expect(newest.complete_to).toBe(newest.last_seq);
        expect(await readiness(gateways[1]!)).toMatchObject({ status: 200 });
        expect(await readiness(archiver)).toMatchObject({ status: 200, body: expect.stringContaining('unreachable') });
        olderAsked++;
        await until('the next look', 2_000, () => performance.now() - beganAt > olderAsked * 500);
      }
      const member = traffic.clients[traffic.users.indexOf(traffic.channels.get(long)![0]!)]!;
      const claimed = await member.history(long, { after: 0, limit: 200 });
      expect(claimed.last_seq).toBeGreaterThan(1_100);
      expect(claimed.complete_to).toBe(0);
      expect(claimed.messages[0]!.seq).toBeGreaterThan(1);
      const end = await member.history(long, { after: claimed.last_seq - 100, limit: 200 });
      expect(end.complete_to).toBe(end.last_seq);
      expect(end.messages).toHaveLength(end.last_seq - claimed.last_seq + 100);
      expect(deployment.processes.size).toBe(4);

      cassandra = await startCassandra({ dir });
      const answeredAt = performance.now();
      const outageS = (answeredAt - beganAt) / 1000;
      const backlog = traffic.sent.length - sentBefore;
      await archive.close();
      archive = await openArchive(cassandra.url, { logger: createLogger({ name: 'test', level: 'silent' }) });
      // Traffic goes on: the archiver has to be faster than it.
      const behind = async () => traffic.sent.length - sentBefore - ((await written()) - writtenBefore);
      await until('the archiver has begun', 30_000, behind, (entries) => entries < backlog);
      const begunS = (performance.now() - answeredAt) / 1000;
      await until('the archiver has caught up', 60_000, behind, (entries) => entries <= RATE / 2);
      const caughtUpS = (performance.now() - answeredAt) / 1000;
      process.stderr.write(
        `archive away ${outageS.toFixed(1)} s at ${RATE}/s: a backlog of ${backlog}; writing ${begunS.toFixed(1)} s and ` +
          `caught up ${caughtUpS.toFixed(1)} s after CQL answered, ${Math.round(backlog / caughtUpS)} entries/s\n`,
      );
      expect(backlog / caughtUpS).toBeGreaterThan(RATE);
      await traffic.stop();

      await until(
        'everybody was shown everything',
        10_000,
        () => traffic.wrong(),
        (wrong) => wrong.length === 0,
      );
      expect(traffic.disorder()).toEqual([]);
      expect(traffic.refused).toEqual([]);
      const all = traffic.sent.length + 4;
      await until(
        'all is archived',
        15_000,
        () => archivedCount(channels),
        (count) => count === all,
      );
      for (const name of channels) {
        const rows = await archived(name);
        expect(rows.map(({ seq }) => seq)).toEqual(rows.map((_, i) => i + 1));
        const accepted = traffic.sent.filter((sent) => sent.channel === name).map(({ id }) => id);
        const ids = rows.filter(({ type }) => type === 'message').map(({ id }) => id);
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids.toSorted()).toEqual(accepted.toSorted());
      }
      const whole = await member.history(long, { after: 0, limit: 200 });
      expect(whole.messages.map(({ seq }) => seq)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
      expect(whole.complete_to).toBe(whole.last_seq);
      expect(deployment.processes.size).toBe(4);
      await traffic.close();
    },
    90_000 + OUTAGE_S * 3_000,
  );

  it('lets an archiver stop in time while Cassandra is away', async () => {
    const traffic = new Traffic({ deployment, gateways, users: 6, prefix: 'stop' });
    await traffic.connect();
    cassandra.kill('SIGKILL');
    await traffic.everywhere();
    await until(
      'the archiver has something to write',
      5_000,
      () => lag(),
      (seconds) => seconds > 0.5,
    );
    const askedAt = performance.now();
    archiver.child.kill('SIGTERM');
    expect(await archiver.exited).toBe(0);
    expect(performance.now() - askedAt).toBeLessThan(8_000);
    await traffic.close();
  });
});

async function metric(of: MillraceProcess, pattern: RegExp): Promise<number> {
  const text = await (await fetch(`${of.address}/metrics`)).text();
  return Math.max(0, ...[...text.matchAll(pattern)].map((match) => Number(match[1])));
}

/** Rows that the archiver has written. Asking Cassandra would cost it what it needs to catch up. */
function written(): Promise<number> {
  return metric(archiver, /^millrace_archive_batch_rows_sum (\S+)$/gm);
}

/** The archiver's oldest entry that is not archived yet, in seconds. */
function lag(): Promise<number> {
  return metric(archiver, /^millrace_log_lag_seconds\{[^}]*role="archiver"[^}]*\} (\S+)$/gm);
}
