/** A part of the store that does not answer, or fails: who has nothing to do with it comes and goes as ever. */
import type { Socket } from 'node:net';
import { afterAll, beforeAll, test } from 'vitest';
import type { WebSocket } from 'ws';
import type { Verbs } from '../../lib/redis/verbs.ts';
import { until } from '../../ops/until.ts';
import { Greeter } from './hello.ts';
import { Hub } from './hub.ts';
import { type Api, startApi } from './routes/testing.ts';
import { Session } from './session.ts';

/** More than all slots. */
const CROWD = 200;
const SOON_MS = 5000;

let api: Api;
let hub: Hub;
let greeter: Greeter;
let answer: () => void = () => undefined;
const silence = new Promise<void>((resolve) => {
  answer = resolve;
});
let failing = true;
const asked = { attach: 0, detach: 0 };
beforeAll(async () => {
  api = await startApi();
  const { keys, store, verbs } = api.ctx;
  const isSilent = (user: string) => keys.partitionOf(user) === 0;
  const held: Verbs = Object.create(verbs, {
    attach: {
      value: async (input: Parameters<Verbs['attach']>[0]) => {
        asked.attach++;
        if (isSilent(input.user)) await silence;
        return verbs.attach(input);
      },
    },
    detach: {
      value: async (input: Parameters<Verbs['detach']>[0]) => {
        asked.detach++;
        if (isSilent(input.user)) await silence;
        if (failing && input.user.startsWith('failing')) throw new Error('CLUSTERDOWN The cluster is down');
        return verbs.detach(input);
      },
    },
  });
  // One server, used as a cluster is: a call touches one partition.
  hub = new Hub({ ...api.ctx, verbs: held, store: { ...store, groups: (partitions) => partitions.map((p) => [p]) } });
  greeter = new Greeter(hub);
});
afterAll(async () => {
  failing = false;
  answer();
  await hub.stop();
  await api.stop();
});

function session(user: string): Session {
  const raw = { writableLength: 0, write: () => true, on: () => raw, once: () => raw, off: () => raw };
  const one = new Session(
    user,
    { readyState: 1, close: () => undefined } as unknown as WebSocket,
    raw as never as Socket,
  );
  one.device = 'phone';
  one.state = 'attaching';
  return one;
}

const named = (prefix: string, partition: number, count: number) =>
  Array.from({ length: 10_000 }, (_, i) => `${prefix}-${i}`)
    .filter((user) => api.ctx.keys.partitionOf(user) === partition)
    .slice(0, count);
const hello = (user: string, s: Session) =>
  greeter.greet(
    s,
    { type: 'hello', token: api.authorization(user).replace('Bearer ', ''), device: 'phone' },
    undefined,
  );

test('hundreds who attach where nothing answers: somebody elsewhere is let in', async () => {
  for (const user of named('silent', 0, CROWD)) void hello(user, session(user));
  await until('the slots there are taken', SOON_MS, () => asked.attach > 0);
  const [user = ''] = named('elsewhere', 1, 1);
  const one = session(user);
  void hello(user, one);
  await until('attached', SOON_MS, () => one.feed !== undefined);
});

test('hundreds who leave where nothing answers: somebody elsewhere is detached', async () => {
  for (const user of named('leaver', 0, CROWD)) void hub.abandon(session(user), user);
  await until('the slots there are taken', SOON_MS, () => asked.detach > 0);
  const [user = ''] = named('elsewhere', 2, 1);
  let gone = false;
  void hub.abandon(session(user), user).then(() => {
    gone = true;
  });
  await until('detached', SOON_MS, () => gone);
});

test('who waits to be detached again has no slot', async () => {
  for (const user of named('failing', 3, CROWD)) void hub.abandon(session(user), user);
  await until('they were tried', SOON_MS, () => asked.detach > CROWD);
  const [user = ''] = named('elsewhere', 3, 1);
  let gone = false;
  void hub.abandon(session(user), user).then(() => {
    gone = true;
  });
  await until('detached', SOON_MS, () => gone);
});
