import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import type { Finding } from './doctor.ts';

const folder = temporaryFolder('doctor');
let server: RedisServer;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
});
afterAll(() => server.stop());

function doctor(env: NodeJS.ProcessEnv) {
  const { PATH, HOME } = process.env;
  const { stdout } = spawnSync(process.execPath, [join(import.meta.dirname, 'main.ts'), 'doctor', '--json'], {
    env: { PATH, HOME, REDIS_URL: server.url, MILLRACE_DATA: folder, ARCHIVE_URL: `sqlite:${folder}/none`, ...env },
    encoding: 'utf8',
  });
  const findings = JSON.parse(stdout) as Finding[];
  return { stdout, of: (what: string) => findings.find((finding) => finding.what.startsWith(what)) };
}

const credentials = (name: string, text: string): string => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

test('the doctor says as whom pushes are sent, and never the key', () => {
  const account = { project_id: 'mill', client_email: 'push@mill.test', private_key: 'a-very-secret-key' };
  const file = credentials('good.json', JSON.stringify(account));
  const { stdout, of } = doctor({ FCM_CREDENTIALS: file, FCM_PROXY: 'http://me:hidden@proxy.test:3128' });
  expect(of('Push')).toMatchObject({ state: 'ok', found: expect.stringContaining('project mill as push@mill.test') });
  expect(of('Push')?.found).toContain('proxy.test');
  expect(stdout).not.toMatch(/very-secret|hidden/);
});

test('credentials that cannot be used are told with what to do', () => {
  const half = credentials('half.json', '{"project_id":"mill","private_key":"a-very-secret-key"}');
  expect(doctor({ FCM_CREDENTIALS: half }).of('Push')).toMatchObject({
    state: 'fail',
    found: `${half} has no client_email`,
    advice: expect.any(String),
  });
  const broken = doctor({ FCM_CREDENTIALS: credentials('broken.json', 'a-very-secret-key') });
  expect(broken.of('Push')).toMatchObject({ state: 'fail', found: expect.stringContaining('is not JSON') });
  expect(broken.stdout).not.toContain('very-secret');
});

test('a Redis user who may not use Pub/Sub is told what is missing', async () => {
  const redis = new Redis(server.url);
  await redis.call('ACL', 'SETUSER', 'deaf', 'on', '>pw', '~*', 'resetchannels', '+@all');
  redis.disconnect();
  const { of } = doctor({ REDIS_URL: server.url.replace('redis://', 'redis://deaf:pw@') });
  expect(of('Redis, sharded Pub/Sub')).toMatchObject({
    state: 'fail',
    found: expect.stringMatching(/NOPERM|channel/i),
    advice: expect.stringContaining('&signal:{*'),
  });
  expect(doctor({}).of('Redis, sharded Pub/Sub')).toMatchObject({ state: 'ok' });
  expect(doctor({}).of('Push')).toMatchObject({ state: 'ok', found: expect.stringContaining('none') });
});

test('settings with which people take twice the memory are told, with better ones', async () => {
  expect(doctor({}).of(`Redis 127.0.0.1:${server.port}, memory`)).toMatchObject({ state: 'ok' });
  const redis = new Redis(server.url);
  await redis.config('SET', 'hash-max-listpack-value', '64');
  await redis.call('ACL', 'SETUSER', 'nosy', 'on', '>pw', '~*', '&*', '+@all', '-config');
  expect(doctor({}).of(`Redis 127.0.0.1:${server.port}, memory`)).toMatchObject({
    state: 'warn',
    found: 'stream-node-max-bytes 1024, hash-max-listpack-value 64',
    advice: expect.stringContaining('hash-max-listpack-value 512'),
  });
  const { of } = doctor({ REDIS_URL: server.url.replace('redis://', 'redis://nosy:pw@') });
  expect(of(`Redis 127.0.0.1:${server.port}, memory`)).toMatchObject({ state: 'ok' });
  await redis.config('SET', 'hash-max-listpack-value', '512');
  await redis.config('SET', 'stream-node-max-bytes', '4096');
  expect(doctor({}).of(`Redis 127.0.0.1:${server.port}, memory`)).toMatchObject({ state: 'warn' });
  redis.disconnect();
});
