/** Who sees whose presence changes at once with blocks and acquaintances, on whatever gateway, for those who watch already. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

/** Far below the minute after which everything is looked at again. */
const AT_ONCE_MS = 3000;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2);
});
afterAll(() => stage?.clear());

const start = (user: string, gateway: number, device = 'phone') =>
  RawSession.start(stage.deployment, stage.gateway(gateway), user, { device });

async function watches(session: RawSession, user: string, status: 'online' | 'offline'): Promise<void> {
  session.send({ type: 'watch', users: [user], ref: `watch ${user}` });
  expect(await session.next('presence', { user, ref: `watch ${user}` })).toMatchObject({ status });
}

/** The next word about the user, of those said after `from`. */
const sees = (session: RawSession, user: string, status: string, from: number) =>
  session.until(
    () => session.frames.slice(from).find((f) => f.type === 'presence' && f.user === user && f.status === status),
    `${user} ${status}`,
    AT_ONCE_MS,
  );

it('a block hides each from the other at once, and its end shows them again', async () => {
  const [ann, ben, bens] = await Promise.all([start('ann', 0), start('ben', 1), start('ben', 0, 'laptop')]);
  ann.send({ type: 'send', client_id: 'hello', to: 'ben', content: 'hello' });
  await Promise.all([ann.next('accepted'), ben.next('message')]);
  await watches(ann, 'ben', 'online');
  for (const session of [ben, bens]) await watches(session, 'ann', 'online');
  for (const [by, whom] of [
    ['ann', 'ben'],
    ['ben', 'ann'],
  ] as const) {
    for (const [method, status] of [
      ['PUT', 'offline'],
      ['DELETE', 'online'],
    ] as const) {
      const from = [ann, ben, bens].map(({ frames }) => frames.length);
      await stage.call(by, `${method} /v1/blocks/${whom}`);
      const told = await Promise.all([
        sees(ann, 'ben', status, from[0]!),
        sees(ben, 'ann', status, from[1]!),
        sees(bens, 'ann', status, from[2]!),
      ]);
      const lastSeen = status === 'offline' ? null : expect.any(Number);
      for (const frame of told) expect(frame.last_seen).toEqual(lastSeen);
    }
  }
  await Promise.all([ann, ben, bens].map((session) => session.close()));
});

it('the first message between two shows each to the other at once, the sender’s only device too', async () => {
  const [cem, dan] = await Promise.all([start('cem', 0), start('dan', 1)]);
  await watches(cem, 'dan', 'offline');
  await watches(dan, 'cem', 'offline');
  const from = [cem, dan].map(({ frames }) => frames.length);
  cem.send({ type: 'send', client_id: 'hello', to: 'dan', content: 'hello' });
  await Promise.all([sees(cem, 'dan', 'online', from[0]!), sees(dan, 'cem', 'online', from[1]!)]);
  await Promise.all([cem.close(), dan.close()]);
});

it('a group shows its members to each other at once, also those who come later, and no longer those who leave', async () => {
  const people = await Promise.all([start('eve', 0), start('fay', 1), start('gil', 1)]);
  const [eve, fay, gil] = people;
  for (const [session, user] of [
    [eve, 'fay'],
    [fay, 'eve'],
    [eve, 'gil'],
    [gil, 'eve'],
  ] as const) {
    await watches(session, user, 'offline');
  }
  const { channel } = await stage.call<{ channel: string }>('eve', 'POST /v1/channels', { members: ['fay'] });
  await Promise.all([sees(eve, 'fay', 'online', 0), sees(fay, 'eve', 'online', 0)]);
  await stage.call('eve', `PUT /v1/channels/${channel}/members/gil`, {});
  await Promise.all([sees(eve, 'gil', 'online', 0), sees(gil, 'eve', 'online', 0)]);
  const from = people.map(({ frames }) => frames.length);
  await stage.call('gil', `DELETE /v1/channels/${channel}/members/gil`);
  await Promise.all([sees(eve, 'gil', 'offline', from[0]!), sees(gil, 'eve', 'offline', from[2]!)]);
  await Promise.all(people.map((session) => session.close()));
});
