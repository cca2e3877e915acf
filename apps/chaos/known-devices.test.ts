/** The devices that a user is known to have: eight, and a ninth in the place of the one unseen longest. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import { ask } from './ask.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set();
});
afterAll(() => stage?.clear());

const start = (user: string, device: string, gateway = 0) =>
  RawSession.start(stage.deployment, stage.gateway(gateway), user, { device });
interface Listed {
  device: string;
  connected: boolean;
  last_seen: number | null;
  push: boolean;
}
const list = async (user: string) =>
  ((await ask(stage, user, 'GET /v1/devices', { gateway: 1 })).body as { devices: Listed[] }).devices;
const names = async (user: string) => (await list(user)).map(({ device }) => device);

async function visit(user: string, device: string) {
  const session = await start(user, device);
  await session.close();
  const isGone = (devices: Listed[]) => devices.find((known) => known.device === device)?.connected === false;
  await until(`${device} to be gone`, 10_000, () => list(user), isGone);
}

it('the ninth displaces the one unseen longest that is not connected', async () => {
  const connected = await start('dora', 'd1', 1);
  for (let i = 2; i <= 8; i++) await visit('dora', `d${i}`);
  expect(await names('dora')).toEqual(['d1', 'd2', 'd3', 'd4', 'd5', 'd6', 'd7', 'd8']);
  await visit('dora', 'd9');
  expect(await names('dora')).toEqual(['d1', 'd3', 'd4', 'd5', 'd6', 'd7', 'd8', 'd9']);
  // d2 is unknown again: its next hello is a first one.
  const again = await start('dora', 'd2');
  expect(again.of('welcome')).toMatchObject([{ resumed: false }]);
  expect(await names('dora')).toEqual(['d1', 'd2', 'd4', 'd5', 'd6', 'd7', 'd8', 'd9']);
  await connected.ping('still there');
  await Promise.all([connected.close(), again.close()]);
});

it('a device is listed with its platform once it has a push token, and when it was last seen', async () => {
  await ask(stage, 'emil', 'PUT /v1/devices/pad', { body: { platform: 'android', push_token: 't' } });
  const session = await start('emil', 'pad');
  const [pad] = await list('emil');
  expect(pad).toEqual({
    device: 'pad',
    platform: 'android',
    push: true,
    last_seen: expect.any(Number),
    connected: true,
  });
  await session.close();
  await ask(stage, 'emil', 'DELETE /v1/devices/pad');
  expect(await list('emil')).toEqual([]);
});

it('a push token belongs to the last user who registered it', async () => {
  const body = { platform: 'web', push_token: 'shared' };
  await ask(stage, 'first', 'PUT /v1/devices/tab', { body });
  await ask(stage, 'second', 'PUT /v1/devices/tab', { body });
  const key = (await stage.store.keys('push_token:*')).map((name) => stage.store.get(name));
  expect(await Promise.all(key)).toContain('second tab');
  expect(await Promise.all(key)).not.toContain('first tab');
  expect(await list('first')).toEqual([]);
  expect(await list('second')).toMatchObject([{ device: 'tab', push: true }]);
  expect(stage.complaints()).toEqual([]);
});
