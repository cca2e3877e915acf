/** A user whom very many watch: of its sessions, a gateway tells the first so many of changes; the others ask. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const MOST = 2;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2, { env: { LIMIT_WATCHERS: String(MOST) } });
  await stage.deployment.start('presence');
});
afterAll(() => stage?.clear());

const start = (user: string, gateway: number) => RawSession.start(stage.deployment, stage.gateway(gateway), user);

/** What a `watch` is answered. */
async function watches(session: RawSession, ref: string): Promise<Frame> {
  session.send({ type: 'watch', users: ['star'], ref });
  return await session.next('presence', { user: 'star', ref });
}

/** What was told of the star, of itself, since `from`. */
const told = (session: RawSession, from: number) =>
  session.frames.slice(from).filter((frame) => frame.type === 'presence' && frame.ref === undefined);

async function untold(): Promise<number> {
  const metrics = await (await fetch(`${stage.gateway(0).address}/metrics`)).text();
  return Number(/^millrace_signals_dropped_total\{reason="many watchers"\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

it('the first of a gateway that watch are told of changes; those after them are answered, and take the place of who ends', async () => {
  const names = ['one', 'two', 'three', 'four'];
  const near = await Promise.all(names.map((name) => start(name, 0)));
  const [one, two, three, four] = near as [RawSession, RawSession, RawSession, RawSession];
  const [far, star] = await Promise.all([start('far', 1), start('star', 1)]);
  await stage.call('star', 'POST /v1/channels', { members: [...names, 'far'] });
  await Promise.all([...near, far, star].map((session) => session.next('created')));
  for (const session of [...near, far]) expect(await watches(session, 'first')).toMatchObject({ status: 'online' });

  // Who is beyond the bound sees no more than the others.
  for (const [method, status] of [
    ['PUT', 'offline'],
    ['DELETE', 'online'],
  ]) {
    const before = four.frames.length;
    await stage.call('star', `${method} /v1/blocks/four`);
    await four.until(() => told(four, before).length > 0, `a block’s ${method}`);
    expect(told(four, before)).toMatchObject([{ status }]);
  }

  const before = new Map([...near, far].map((session) => [session, session.frames.length]));
  const heard = (session: RawSession) => told(session, before.get(session) ?? 0);
  await star.close();
  const gone = await Promise.all([one, two, far].map((session) => session.next('presence', { status: 'offline' })));
  await Promise.all([three, four].map((session) => session.ping('whatever was told before')));
  expect([one, two, three, four, far].map((session) => heard(session).length)).toEqual([1, 1, 0, 0, 1]);
  expect(await untold()).toBe(2);

  const lastSeen = gone[0]?.last_seen;
  expect(lastSeen).toEqual(expect.any(Number));
  const asked = await stage.call('three', 'GET /v1/presence?users=star');
  expect(asked).toEqual({ presence: [{ user: 'star', status: 'offline', last_seen: lastSeen }] });
  const again = { status: 'offline', last_seen: lastSeen };
  expect(await watches(four, 'no place yet')).toMatchObject(again);
  one.send({ type: 'unwatch', users: ['star'] });
  await one.ping('no longer watching');
  expect(await watches(three, 'in its place')).toMatchObject(again);

  const back = await start('star', 1);
  await Promise.all(
    [two, three, far].map((session) => session.until(() => heard(session).at(-1)?.status === 'online', 'back')),
  );
  await Promise.all([one, four].map((session) => session.ping('whatever was told then')));
  expect([one, two, three, four, far].map((session) => heard(session).length)).toEqual([1, 2, 1, 0, 2]);
  expect(await untold()).toBe(3);
  await Promise.all([...near, far, back].map((session) => session.close()));
});
