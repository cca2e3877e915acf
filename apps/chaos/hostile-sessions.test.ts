/** Sessions that come too early, too often, too many or without a word; a neighbour notices nothing. */
import { beforeAll, describe, expect, it } from 'vitest';
import { endOf, hostilities } from './hostile.ts';
import { type Ended, RawSession } from './raw-session.ts';

const here = hostilities();
let unheard: Promise<{ ended: Ended; afterMs: number }>;
beforeAll(async () => {
  // A first frame that never comes takes ten seconds to be missed; the other tests run meanwhile.
  const silent = await RawSession.open(here.stage.gateway(0));
  const since = performance.now();
  unheard = silent.ended.then((ended) => ({ ended, afterMs: performance.now() - since }));
});

describe('sessions', () => {
  it('frames between hello and welcome are answered after it, in order', async () => {
    const session = await RawSession.open(here.stage.gateway(0));
    session.hello(here.stage.deployment.token('eager'));
    for (let i = 0; i < 50; i++) {
      session.send({ type: 'send', client_id: `e${i}`, to: 'reader', content: `${i}` });
      session.send({ type: 'ping', n: i });
    }
    await session.until(() => session.of('accepted').length === 50 && session.of('pong').length === 50, 'all answers');
    expect(session.frames[0]?.type).toBe('welcome');
    expect(session.of('pong').map((f) => f.n)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    const seqs = session.of('accepted').sort((a, b) => Number(a.seq) - Number(b.seq));
    expect(seqs.map((f) => f.client_id)).toEqual(Array.from({ length: 50 }, (_, i) => `e${i}`));
    await session.close();
  });

  it('4003 for the one before when the same device connects again, on the same gateway and on another', async () => {
    for (const gateway of [0, 1]) {
      const before = await here.start('twice', 0);
      const after = await here.start('twice', gateway);
      expect(await endOf(before)).toBe(4003);
      here.friend.send({ type: 'send', client_id: `t${gateway}`, to: 'twice', content: 'to the present one' });
      await after.next('message', { client_id: `t${gateway}` });
      await after.close();
    }
  });

  it('4009 for the ninth at once; when one ends there is room again', async () => {
    const eight = await Promise.all(Array.from({ length: 8 }, (_, i) => here.start('many', i, `device-${i}`)));
    const ninth = await RawSession.open(here.stage.gateway(0));
    ninth.hello(here.stage.deployment.token('many'), 'device-8');
    expect(await endOf(ninth)).toBe(4009);
    expect(ninth.of('welcome')).toEqual([]);
    for (const [i, session] of eight.entries()) await session.ping(`p${i}`);
    await eight.pop()!.close();
    await roomFor('many', 'device-8');
    await Promise.all(eight.map((session) => session.close()));
  });

  it('4002 when no first frame comes within ten seconds', async () => {
    const { ended, afterMs } = await unheard;
    expect(ended.code).toBe(4002);
    expect(afterMs).toBeGreaterThan(9_500);
    expect(afterMs).toBeLessThan(15_000);
  });
});

/** The session that ended is taken out right after its close, which the client sees first. */
async function roomFor(user: string, device: string): Promise<void> {
  for (const deadline = performance.now() + 5_000; ; ) {
    const session = await RawSession.open(here.stage.gateway(1));
    session.hello(here.stage.deployment.token(user), device);
    const up = await session.next('welcome').catch(() => undefined);
    if (up) return await session.close();
    if (performance.now() > deadline) throw new Error(`no room for ${device}: ${await endOf(session)}`);
  }
}
