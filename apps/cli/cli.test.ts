/** The command as its users run it: through ops/start.mjs, in processes of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createVerifier } from '../../lib/auth/index.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { findSecret, isAlive } from './credentials.ts';
import { redisCli } from './looking.ts';

const starter = join(import.meta.dirname, '..', '..', 'ops', 'start.mjs');
const folder = temporaryFolder('cli');
// Nothing of the machine's own environment: a REDIS_URL set by the developer must not be used by a test.
const env: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  MILLRACE_DATA: folder,
  LOG_LEVEL: 'warn',
};

interface Ended {
  code: number | null;
  out: string;
  err: string;
}

function launch(
  args: string[],
  extra: NodeJS.ProcessEnv = {},
  stdin: 'ignore' | 'pipe' = 'ignore',
): { child: ChildProcess; ended: Promise<Ended>; out(): string } {
  const child = spawn(process.execPath, [starter, ...args], {
    env: { ...env, ...extra },
    stdio: [stdin, 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout?.on('data', (data) => {
    out += data;
  });
  child.stderr?.on('data', (data) => {
    err += data;
  });
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, out, err }));
  return { child, ended, out: () => out };
}

const millrace = (...args: string[]): Promise<Ended> => launch(args).ended;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function health(port: number): Promise<{ pid: number } | undefined> {
  try {
    return (await (await fetch(`http://127.0.0.1:${port}/healthz`)).json()) as { pid: number };
  } catch {
    // Not up yet, or down again: the callers poll.
    return undefined;
  }
}

describe('a development start', () => {
  let port: number;
  let started: ReturnType<typeof launch>;
  let pid: number;

  beforeAll(async () => {
    port = await freePort();
    started = launch(['start', '--port', String(port)]);
    await vi.waitFor(() => expect(started.out()).toContain('Millrace is up'), { timeout: 30_000 });
    pid = (await health(port))?.pid ?? 0;
  });
  afterAll(() => {
    started.child.kill('SIGKILL');
  });

  test('keeps a secret that only its owner reads, and token signs with it', async () => {
    expect(statSync(join(folder, 'jwt-secret')).mode & 0o777).toBe(0o600);
    const { code, out } = await millrace('token', 'alice', '--name', 'Alice', '--ttl', '15m');
    expect(code).toBe(0);
    const identity = await createVerifier({ secret: findSecret(env) }).verify(out.trim());
    expect(identity).toMatchObject({ user: 'alice', name: 'Alice', admin: false });
  });

  test('a message sent with the command reaches another one that waits for it, and stays in history', async () => {
    const tail = launch(['tail', 'bob', '--count', '1', '--json']);
    // A device that never was there gets nothing from before: bob's has to be known first.
    await vi.waitFor(async () => expect((await millrace('inspect', 'user', 'bob', '--json')).out).toContain('"tail"'), {
      timeout: 10_000,
    });
    expect(await millrace('send', 'alice', 'bob', 'hello', 'bob')).toMatchObject({ code: 0 });
    const { code, out } = await tail.ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      type: 'message',
      channel: 'dm:alice:bob',
      seq: 1,
      from: 'alice',
      content: 'hello bob',
    });
    const history = await millrace('history', 'bob', 'alice', '--json');
    expect(JSON.parse(history.out)).toMatchObject({ seq: 1, content: 'hello bob' });
  });

  test('two who chat see who is there, and what of theirs the other has read', async () => {
    const [carol, dave] = [
      launch(['chat', 'carol', 'dave'], {}, 'pipe'),
      launch(['chat', 'dave', 'carol'], {}, 'pipe'),
    ] as const;
    const shows = (chat: typeof carol, text: string) =>
      vi.waitFor(() => expect(chat.out()).toContain(text), { timeout: 20_000 });
    await Promise.all([shows(carol, 'nothing yet'), shows(dave, 'nothing yet')]);
    carol.child.stdin?.write('hello dave\n');
    await shows(dave, 'carol: hello dave');
    await shows(carol, 'carol: hello dave ✓');
    await shows(carol, '(read up to #1)');
    carol.child.stdin?.write('/edit hello, dave\n');
    await shows(dave, '* carol edited #1: hello, dave');
    dave.child.stdin?.write('hello yourself\n');
    // Strangers until the first message was delivered to both: whatever comes then has them look again.
    await vi.waitFor(
      () => {
        carol.child.stdin?.write('are you there?\n');
        expect(carol.out()).toContain('(dave is online)');
        expect(dave.out()).toContain('(carol is online)');
      },
      { timeout: 20_000, interval: 1000 },
    );
    dave.child.stdin?.end('/quit\n');
    expect(await dave.ended).toMatchObject({ code: 0, err: '' });
    await shows(carol, '(dave was last seen');
    carol.child.stdin?.end();
    expect(await carol.ended).toMatchObject({ code: 0, err: '' });
  }, 90_000);

  test('serves its probes and metrics', async () => {
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ status: 'ready', parts: { redis: 'ok', archive: 'ok' } });
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(text).toContain('millrace_lease_held{role="fanout",partition="0"} 1');
  });

  test('a second start on its port says whose it is and what to do', async () => {
    const { code, err } = await millrace('start', '--roles', 'fanout', '--port', String(port));
    expect(code).toBe(78);
    expect(err).toContain(`port ${port} is in use by another Millrace (process ${pid}`);
    expect(err).toContain(`--port ${port + 1}`);
  });

  test('a port of something else is named too', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const taken = (other.address() as { port: number }).port;
    const { code, err } = await millrace('start', '--roles', 'fanout', '--port', String(taken));
    other.close();
    expect(code).toBe(78);
    expect(err).toContain(`port ${taken} is in use by`);
  });

  test('doctor and inspect find it without being told where it is', async () => {
    const doctor = await millrace('doctor', '--json');
    expect(doctor).toMatchObject({ code: 0, err: '' });
    const findings = JSON.parse(doctor.out) as { what: string; state: string }[];
    expect(findings.filter(({ state }) => state !== 'ok' && state !== 'warn')).toEqual([]);
    expect(findings.map(({ what }) => what).join()).toContain('clock');
    env.JWT_JWKS_URL = 'https://issuer.test/keys';
    try {
      const withIssuer = JSON.parse((await millrace('doctor', '--json')).out) as typeof findings;
      expect(withIssuer.find(({ what }) => what === 'JWT secret')).toMatchObject({ state: 'ok' });
    } finally {
      delete env.JWT_JWKS_URL;
    }
    const lag = JSON.parse((await millrace('inspect', 'lag', '--json')).out) as { redis_cli: string; rows: object[] }[];
    expect(lag[0]?.rows).toHaveLength(16);
    expect(lag[0]?.redis_cli).toMatch(/^redis-cli -p \d+ HGETALL 'positions:\{0\./);
    for (const what of [
      ['user', 'alice'],
      ['channel', 'dm:alice:bob'],
      ['partition', '3'],
    ]) {
      expect(await millrace('inspect', ...what)).toMatchObject({ code: 0, err: '' });
    }
    expect((await millrace('inspect', 'partition', '99')).code).toBe(2);
  }, 90_000);

  test('ends on SIGTERM, with its Redis', async () => {
    const lag = JSON.parse((await millrace('inspect', 'lag', '--json')).out) as { redis_cli: string }[];
    const redisPort = Number(/-p (\d+)/.exec(lag[0]?.redis_cli ?? '')?.[1]);
    started.child.kill('SIGTERM');
    expect((await started.ended).code).toBe(0);
    expect(isAlive(pid)).toBe(false);
    const probe = createServer().listen(redisPort, '127.0.0.1');
    await once(probe, 'listening');
    probe.close();
  });
});

describe('the command line', () => {
  test('the started process ends when the one above it is killed outright', async () => {
    const port = await freePort();
    const { child } = launch(['start', '--roles', 'fanout', '--port', String(port)], {
      MILLRACE_DATA: temporaryFolder('cli'),
    });
    await expect.poll(() => health(port), { timeout: 30_000 }).toBeDefined();
    const { pid } = (await health(port)) as { pid: number };
    child.kill('SIGKILL');
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false);
  });

  test('production refuses to start without a secret, and says so in one message', async () => {
    const { code, err } = await launch(['start', '--roles', 'gateway'], {
      NODE_ENV: 'production',
      REDIS_URL: 'redis://127.0.0.1:1',
    }).ended;
    expect(code).toBe(78);
    expect(err).toContain('JWT_SECRET is missing');
    expect(err).not.toContain('    at ');
  });

  test('in production the workers need no key for tokens', async () => {
    const { code, err } = await launch(['start', '--roles', 'fanout,archiver,presence,pusher'], {
      NODE_ENV: 'production',
      REDIS_URL: 'nowhere://',
    }).ended;
    expect(code).toBe(78);
    expect(err).toContain('REDIS_URL');
    expect(err).not.toContain('JWT_');
  });

  test('wrong use exits with 2 and points to the help', async () => {
    for (const args of [
      ['nope'],
      ['token', 'a b'],
      ['token'],
      ['start', '--roles', 'waiter'],
      ['token', 'a', '--ttl', '5'],
    ]) {
      const { code, err } = await millrace(...args);
      expect(code).toBe(2);
      expect(err).toContain('--help');
    }
  });

  test('every command has help', async () => {
    const { out } = await millrace('--help');
    for (const [, command] of out.matchAll(/^ {2}([a-z-]+) /gm)) {
      if (command === 'help') continue;
      expect((await millrace(command as string, '--help')).code).toBe(0);
    }
  });

  test('the redis-cli line fits every kind of address', () => {
    expect(redisCli({ kind: 'standalone', address: 'redis://127.0.0.1:6379' })).toBe('redis-cli');
    expect(redisCli({ kind: 'standalone', address: 'rediss://redis.local:7000/2' })).toBe(
      'redis-cli -h redis.local -p 7000 --tls -n 2',
    );
    expect(redisCli({ kind: 'cluster', address: 'redis+cluster://10.0.0.1:7001,10.0.0.2:7002' })).toBe(
      'redis-cli -c -h 10.0.0.1 -p 7001',
    );
  });
});
