/** A gateway that is told to stop: who is told what and when, what still works, and how it ends. */
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverFrames } from '../../lib/protocol/frames.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { expectExactly } from './exactly.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const GRACE_MS = 3_000;
const SPREAD_MS = 2_000;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(1, { env: { DRAIN_GRACE: `${GRACE_MS}`, DRAIN_SPREAD: `${SPREAD_MS}` } });
});
afterAll(() => stage?.clear());

const session = (gateway: MillraceProcess, user: string) => RawSession.start(stage.deployment, gateway, user);

async function upgradeRefused(gateway: MillraceProcess): Promise<{ status: number | undefined; body: unknown }> {
  return await new Promise((resolve, reject) => {
    const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' };
    const key = { 'sec-websocket-key': Buffer.from('sixteen bytes...').toString('base64') };
    const asked = request(`${gateway.address}/v1/ws`, { headers: { ...headers, ...key } });
    asked.once('upgrade', () => reject(new Error('it was upgraded')));
    asked.once('error', reject);
    asked.once('response', (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.once('end', () => resolve({ status: response.statusCode, body: JSON.parse(text) as unknown }));
    });
    asked.end();
  });
}

/** Frozen while `work` runs. */
async function whileRedisIsFrozen(work: () => Promise<void>): Promise<void> {
  stage.redis.kill('SIGSTOP');
  try {
    await work();
  } finally {
    stage.redis.kill('SIGCONT');
  }
}

describe('SIGTERM', () => {
  it('tells each session when to go, accepts until the end, takes nobody in, closes 1012 and exits with 0', async () => {
    const gateway = await stage.deployment.start('gateway');
    const users = Array.from({ length: 10 }, (_, i) => `drained-${i}`);
    const sessions = await Promise.all(users.map((user) => session(gateway, user)));
    const upgraded = await RawSession.open(gateway);
    const startedAt = performance.now();
    await gateway.kill('SIGTERM');
    const told = await Promise.all(sessions.map((s) => s.next('goaway')));
    for (const frame of told) expectExactly(serverFrames.goaway, frame, 'goaway');
    expect(performance.now() - startedAt).toBeLessThan(1_000);

    const ready = await fetch(`${gateway.address}/readyz`);
    expect(ready.status).toBe(503);
    expect(ready.headers.get('connection')).toBe('close');
    expect(await ready.json()).toMatchObject({ status: 'not ready', parts: { gateway: 'draining' } });
    expect((await fetch(`${gateway.address}/healthz`)).status).toBe(200);
    expect(await upgradeRefused(gateway)).toEqual({
      status: 503,
      body: { error: { code: 'unavailable', message: expect.any(String), retry_after_ms: expect.any(Number) } },
    });
    upgraded.hello(stage.deployment.token('late'));
    expect(await upgraded.next('goaway')).toMatchObject({ grace_ms: 0 });
    expect(await upgraded.ended).toMatchObject({ code: 1012 });
    expect(upgraded.of('welcome')).toEqual([]);

    // Different for each, and over the whole spread: one in each tenth of it.
    const delays = told.map((frame) => frame.reconnect_in_ms as number).sort((a, b) => a - b);
    expect(delays.map((ms) => Math.floor(Math.min(ms, SPREAD_MS - 1) / (SPREAD_MS / 10)))).toEqual([...users.keys()]);
    for (const { grace_ms, reason } of told) {
      expect(grace_ms).toBeGreaterThan(GRACE_MS - 1_000);
      expect(grace_ms).toBeLessThanOrEqual(GRACE_MS);
      expect(reason).toEqual(expect.any(String));
    }

    const [first] = sessions;
    if (!first) throw new Error('no session');
    for (let i = 0; i < 5; i++) {
      first.send({ type: 'send', client_id: `late-${i}`, to: 'drained-1', content: 'still' });
      await first.next('accepted', { client_id: `late-${i}` });
    }
    await sessions[1]?.next('message', { client_id: 'late-4' });
    const ends = await Promise.all(sessions.map((s) => s.ended));
    expect(new Set(ends.map(({ code }) => code))).toEqual(new Set([1012]));
    expect(performance.now() - startedAt).toBeGreaterThan(GRACE_MS - 500);
    expect(await gateway.exited).toBe(0);
  });

  it('ends early when the last session has gone', async () => {
    const gateway = await stage.deployment.start('gateway');
    const alone = await session(gateway, 'early');
    const startedAt = performance.now();
    await gateway.kill('SIGTERM');
    await alone.next('goaway');
    await alone.close();
    expect(await gateway.exited).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(GRACE_MS);
  });

  it('a second one hurries: sessions are closed at once, each after its sends in flight were answered', async () => {
    const gateway = await stage.deployment.start('gateway');
    const [one, two] = await Promise.all([session(gateway, 'hurried-1'), session(gateway, 'hurried-2')]);
    const startedAt = performance.now();
    await gateway.kill('SIGTERM');
    await Promise.all([one.next('goaway'), two.next('goaway')]);
    await until('so long that it is no echo', 1_000, () => performance.now() - startedAt > 400);
    await whileRedisIsFrozen(async () => {
      one.send({ type: 'send', client_id: 'in-flight', to: 'hurried-2', content: 'on its way' });
      await one.ping('parsed');
      await gateway.kill('SIGTERM');
      // Whoever has nothing in flight is closed while the other's answer is waited for.
      expect(await two.ended).toMatchObject({ code: 1012 });
      expect(performance.now() - startedAt).toBeLessThan(GRACE_MS);
      expect(one.socket.readyState).toBe(1);
    });
    expect(await one.ended).toMatchObject({ code: 1012 });
    expect(one.of('accepted')).toHaveLength(1);
    expect(await gateway.exited).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(GRACE_MS + 1_000);
  });

  it('a third ends the process as it is', async () => {
    const gateway = await stage.deployment.start('gateway');
    const kept = await session(gateway, 'kept');
    const startedAt = performance.now();
    await gateway.kill('SIGTERM');
    await kept.next('goaway');
    await whileRedisIsFrozen(async () => {
      // Without an answer, which the second one waits for.
      kept.send({ type: 'send', client_id: 'unanswered', to: 'hurried-2', content: 'on its way' });
      await kept.ping('parsed');
      for (const after of [400, 800]) {
        await until('so long that it is no echo', 2_000, () => performance.now() - startedAt > after);
        await gateway.kill('SIGTERM');
      }
      expect(await gateway.exited).toBe(130);
    });
    expect(await kept.ended).toMatchObject({ code: 1006 });
  });

  it('finishes a request that is in flight', async () => {
    const gateway = await stage.deployment.start('gateway');
    let answer: Promise<Response> | undefined;
    await whileRedisIsFrozen(async () => {
      answer = fetch(`${gateway.address}/v1/messages`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${stage.deployment.token('requester')}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ to: 'late', client_id: 'one', content: 'in flight' }),
      });
      await until('a request is in flight', 5_000, async () => {
        const text = await (await fetch(`${gateway.address}/healthz`)).text();
        return text.includes('millrace');
      });
      await gateway.kill('SIGTERM');
      await until('it does not listen any more', 5_000, () =>
        fetch(`${gateway.address}/healthz`).then(
          () => false,
          () => true,
        ),
      );
    });
    expect((await answer)?.status).toBe(202);
    expect(await gateway.exited).toBe(0);
  });

  it('ends a worker within a second, and another has its partitions within the next', async () => {
    const other = await stage.deployment.start('fanout');
    await until('it shares', 10_000, async () => (await holdersOf(other)) === 8);
    const startedAt = performance.now();
    await other.kill('SIGTERM');
    expect(await other.exited).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await until('all are taken', 1_500, async () => (await holders()).every((worker) => worker !== null));
  });
});

const holders = () => stage.store.mget(Array.from({ length: 16 }, (_, p) => stage.keys.lease(p, 'fanout')));
const holdersOf = async (process: MillraceProcess) =>
  (await holders()).filter((worker) => worker?.includes(`-${process.pid}-`)).length;
