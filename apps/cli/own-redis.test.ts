/** `npm start -- --redis …`, as a newcomer runs it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { temporaryFolder } from '../../ops/reaper.ts';
import { until } from '../../ops/until.ts';
import { isAlive, runningNote } from './credentials.ts';

const starter = join(import.meta.dirname, '..', '..', 'ops', 'start.mjs');
const running: ChildProcess[] = [];

interface Ended {
  code: number | null;
  out: string;
  err: string;
}

function launch(folder: string, args: string[], extra: NodeJS.ProcessEnv = {}) {
  const { PATH, HOME } = process.env;
  const child = spawn(process.execPath, [starter, ...args], {
    env: { PATH, HOME, MILLRACE_DATA: folder, LOG_LEVEL: 'warn', ...extra },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  child.stderr.on('data', (data) => {
    err += data;
  });
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code as number | null, out, err }));
  return { child, ended, out: () => out };
}

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

async function startUp(folder: string, kind: string): Promise<{ said: string; stop(): Promise<void> }> {
  const { child, ended, out } = launch(folder, ['start', '--port', '0', '--redis', kind]);
  const early = ended.then(({ err }) => Promise.reject(new Error(`it ended: ${err}`)));
  await Promise.race([early, vi.waitFor(() => expect(out()).toContain('Stop: Ctrl-C'), { timeout: 60_000 })]);
  early.catch(() => undefined);
  const stop = async () => {
    child.kill('SIGTERM');
    expect((await ended).code).toBe(0);
  };
  return { said: out(), stop };
}

const sent = (folder: string, text: string): Promise<Ended> =>
  until(
    `'${text}' is accepted`,
    60_000,
    () => launch(folder, ['send', 'alice', 'bob', text, '--client-id', text]).ended,
    ({ code }) => code === 0,
  );

async function history(folder: string): Promise<[seq: number, content: string][]> {
  const { out } = await launch(folder, ['history', 'bob', 'alice', '--json']).ended;
  const lines = out.trim().split('\n');
  return lines.map((line) => {
    const { seq, content } = JSON.parse(line) as { seq: number; content: string };
    return [seq, content];
  });
}

const cases = [
  { kind: 'cluster', first: 'redis-cli -c -p' },
  { kind: 'sentinel', first: 'SENTINEL GET-MASTER-ADDR-BY-NAME' },
];

test.each(cases)(
  '--redis $kind keeps messages over the death of a primary and over a start anew',
  async (one) => {
    const folder = temporaryFolder('own-redis');
    const first = await startUp(folder, one.kind);
    expect(first.said).toContain(one.first);
    expect(first.said).toContain('ACK_REPLICAS=1');
    expect(runningNote(folder)).toMatchObject({ ackReplicas: 1 });
    await sent(folder, 'one');

    // As the greeting proposes.
    const pid = Number(/kill -9 (\d+)/.exec(first.said)?.[1]);
    process.kill(pid, 'SIGKILL');
    await until('it is dead', 5000, () => !isAlive(pid));
    await sent(folder, 'two');
    expect(await history(folder)).toEqual([
      [1, 'one'],
      [2, 'two'],
    ]);
    const [port] = /(?<=-p )\d+/.exec(first.said) ?? [];
    await first.stop();

    const second = await startUp(folder, one.kind);
    expect(second.said).toContain(`127.0.0.1:${port}`);
    await sent(folder, 'three');
    expect(await history(folder)).toEqual([
      [1, 'one'],
      [2, 'two'],
      [3, 'three'],
    ]);

    // Another process of this folder shares it, and nothing of another kind starts beside it.
    const other = await launch(folder, ['start', '--port', '0', '--redis', 'standalone']).ended;
    expect(other).toMatchObject({ code: 78, err: expect.stringContaining(one.kind) });
    const sharing = launch(folder, ['start', '--port', '0', '--roles', 'fanout']);
    await vi.waitFor(() => expect(sharing.out()).toContain('ACK_REPLICAS=1'), { timeout: 30_000 });
    expect(sharing.out()).toContain(`+${one.kind}://`);
    sharing.child.kill('SIGTERM');
    expect((await sharing.ended).code).toBe(0);
    await second.stop();
  },
  240_000,
);

test('--redis with a Redis that runs is refused, and so is what is neither', async () => {
  const folder = temporaryFolder('own-redis');
  const both = await launch(folder, ['start', '--redis', 'cluster'], { REDIS_URL: 'redis://:hidden@there:6379' }).ended;
  expect(both).toMatchObject({ code: 78, err: expect.stringMatching(/--redis cluster .* REDIS_URL .*there:6379/) });
  expect(both.err).not.toContain('hidden');
  const typo = await launch(folder, ['start', '--redis', 'clustr']).ended;
  expect(typo).toMatchObject({ code: 2, err: expect.stringContaining('standalone, sentinel, cluster') });
  const production = await launch(folder, ['start', '--redis', 'cluster'], { NODE_ENV: 'production' }).ended;
  expect(production).toMatchObject({ code: 78, err: expect.stringContaining('REDIS_URL is missing') });
});
