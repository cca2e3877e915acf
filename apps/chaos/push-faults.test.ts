/** The pusher under faults, on a Redis Cluster: FCM that hangs or refuses, pushers that are killed, frozen or told to stop. */
import { spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type Answer, FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';

const PATIENCE_MS = 60_000;
const TEST_MS = 120_000;
const folder = temporaryFolder('push-faults');
const archiveUrl = `sqlite:${join(folder, 'archive.sqlite')}`;
let cluster: RedisCluster;
let fcm: FcmStandIn;
let deployment: Deployment;
let gateway: MillraceProcess;
let alice: RawSession;
/** By token; all others are taken. */
const answers = new Map<string, Answer>();

beforeAll(async () => {
  cluster = await startRedisCluster({ appendOnly: false });
  fcm = await FcmStandIn.start();
  deployment = new Deployment({ redisUrl: cluster.url, archiveUrl, env: { PARTITIONS: '16', ...fcm.env } });
  [gateway] = await Promise.all([deployment.start('gateway'), deployment.start('fanout', 'archiver')]);
  alice = await RawSession.start(deployment, gateway, 'alice');
}, TEST_MS);
beforeEach(() => {
  answers.clear();
  fcm.received.length = 0;
  fcm.answer = (token) => answers.get(token) ?? 'ok';
});
afterAll(async () => {
  alice?.socket.terminate();
  await deployment?.stop();
  await fcm?.stop();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
}, TEST_MS);

async function away(user: string): Promise<string> {
  const token = `token-of-${user}`;
  const response = await fetch(`${gateway.address}/v1/devices/phone`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${deployment.token(user)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ platform: 'android', push_token: token }),
  });
  expect(response.status).toBe(204);
  return token;
}
let cid = 0;
function write(to: string, content: string): void {
  alice.send({ type: 'send', client_id: `c-${++cid}`, to, content });
}
const tried = (token: string) => fcm.received.filter((received) => received.token === token);
const reached = (what: string, token: string) => until(what, PATIENCE_MS, () => tried(token).length > 0);
const arrived = (token: string) =>
  until(`a push to ${token}`, PATIENCE_MS, () => fcm.sent(token).length > 0).then(() => fcm.sent(token));
async function metric(process: MillraceProcess, name: string): Promise<number> {
  const text = await (await fetch(`${process.address}/metrics`)).text();
  return [...text.matchAll(new RegExp(`^millrace_${name}(?:\\{.*\\})? (.+)$`, 'gm'))].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
}
const emptied = (pusher: MillraceProcess) =>
  until('the queues are empty', PATIENCE_MS, async () => (await metric(pusher, 'push_queue_entries')) === 0);

async function millrace(...args: string[]): Promise<string> {
  const main = join(import.meta.dirname, '../cli/main.ts');
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, REDIS_URL: cluster.url, ARCHIVE_URL: archiveUrl };
  const child = spawn(process.execPath, [main, ...args], { env: { ...env, MILLRACE_DATA: folder, PARTITIONS: '16' } });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => void said.push(chunk));
  }
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const out = said.join('');
  expect(status, out).toBe(0);
  return out;
}

test(
  'FCM hangs for one: others get theirs, the lag is a metric, a stop ends in time, and the next pusher loses nothing',
  async () => {
    const pusher = await deployment.start('pusher');
    const [stuck, other] = [await away('stuck'), await away('other')];
    answers.set(stuck, 'hang');
    write('stuck', 'a secret of stuck');
    await reached('FCM was asked', stuck);
    for (const text of ['one', 'two', 'three']) write('other', text);
    const [push, ...more] = await arrived(other);
    expect(push).toMatchObject({ data: { count: '3' }, notification: { body: 'three (+2)' } });
    expect(more).toEqual([]);
    await until('the lag is told', PATIENCE_MS, async () => (await metric(pusher, 'push_queue_age_seconds')) > 1);
    pusher.child.kill('SIGTERM');
    expect(await pusher.exited).toBe(0);
    expect(pusher.log.join('\n')).not.toContain('giving up');
    expect(pusher.log.join('\n')).not.toContain('a secret of stuck');

    answers.clear();
    const next = await deployment.start('pusher');
    expect(await arrived(stuck)).toMatchObject([{ data: { user: 'stuck', count: '1' } }]);
    await emptied(next);
    await next.stop();
  },
  TEST_MS,
);

test(
  'a pusher killed while FCM has not answered: another one takes over, and both pushes are one on the phone',
  async () => {
    const token = await away('kim');
    const doomed = await deployment.start('pusher');
    answers.set(token, 'hang');
    write('kim', 'hello');
    await reached('FCM was asked', token);
    await doomed.kill('SIGKILL');
    answers.clear();
    const next = await deployment.start('pusher');
    await arrived(token);
    await emptied(next);
    const keys = tried(token).map(({ message }) => message.android?.collapse_key);
    expect(keys).toEqual(['millrace', 'millrace']);
    await next.stop();
  },
  TEST_MS,
);

test(
  'a pusher frozen with a wake-up in hand: another one sends it, and the thawed one does not send it again',
  async () => {
    const token = await away('fred');
    const frozen = await deployment.start('pusher');
    write('fred', 'hello');
    await until('it has the entry', PATIENCE_MS, async () => (await metric(frozen, 'push_queue_entries')) > 0);
    await frozen.kill('SIGSTOP');
    const next = await deployment.start('pusher');
    expect(tried(token)).toEqual([]);
    await arrived(token);
    await emptied(next);
    await frozen.kill('SIGCONT');
    await until('it found out', PATIENCE_MS, () => frozen.log.some((line) => /"workers":2.*new share/.test(line)));
    await frozen.stop();
    expect(tried(token)).toHaveLength(1);
    await next.stop();
  },
  TEST_MS,
);

test(
  'what FCM refuses is a dead letter, listed without contents, and replayed it arrives',
  async () => {
    const token = await away('rex');
    const pusher = await deployment.start('pusher');
    answers.set(token, 'invalid');
    write('rex', 'a secret of rex');
    await reached('FCM was asked', token);
    const list = () => millrace('dead-letters', 'list', '--kind', 'push');
    const listed = await until('it is listed', PATIENCE_MS, list, (text) => /invalid-argument.*rex/.test(text));
    expect(listed).not.toContain('a secret of rex');
    answers.clear();
    expect(await millrace('dead-letters', 'replay', '--kind', 'push')).toContain('1 replayed, 0 left');
    expect(await arrived(token)).toMatchObject([
      { data: { user: 'rex', count: '1' }, notification: { body: 'a secret of rex' } },
    ]);
    await emptied(pusher);
    await pusher.stop();
  },
  TEST_MS,
);

test(
  'without credentials it says so, and logs ids alone; with a file that is none it does not start, and says what to do',
  async () => {
    const env = { PARTITIONS: '16' };
    const dry = new Deployment({ redisUrl: cluster.url, archiveUrl, env });
    const pusher = await dry.start('pusher');
    expect(pusher.log.join('\n')).toContain('FCM_CREDENTIALS is not set');
    await away('dora');
    write('dora', 'a secret of dora');
    await until('it logs', PATIENCE_MS, () => pusher.log.some((line) => line.includes('would send a push')));
    expect(pusher.log.join('\n')).toContain('"user":"dora"');
    expect(pusher.log.join('\n')).not.toMatch(/a secret|token-of/);
    await pusher.stop();

    const file = join(folder, 'broken.json');
    writeFileSync(file, '{"type": "service_account"');
    const broken = new Deployment({ redisUrl: cluster.url, archiveUrl, env: { ...env, FCM_CREDENTIALS: file } });
    await expect(broken.start('pusher')).rejects.toThrow(
      /code 78:.*FCM_CREDENTIALS.*not JSON.*Generate new private key/s,
    );
  },
  TEST_MS,
);
