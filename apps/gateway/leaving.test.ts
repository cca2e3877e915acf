import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import type { Verbs } from '../../lib/redis/verbs.ts';
import { Hub } from './hub.ts';
import { type Api, startApi } from './routes/testing.ts';
import { Session } from './session.ts';

const CROWD = 2000;

let api: Api;
let hub: Hub;
/** In which turn of the event loop each detach was asked of the store. */
const begunIn: number[] = [];
let turn = 0;
beforeAll(async () => {
  api = await startApi();
  const verbs: Verbs = Object.create(api.ctx.verbs, {
    detach: {
      value: (session: Parameters<Verbs['detach']>[0]) => {
        begunIn.push(turn);
        return api.ctx.verbs.detach(session);
      },
    },
  });
  hub = new Hub({ ...api.ctx, verbs });
});
afterAll(async () => {
  await hub.stop();
  await api.stop();
});

function session(user: string): Session {
  const raw = { writableLength: 0, write: () => true } as unknown as Socket;
  const one = new Session(user, { readyState: 3 } as WebSocket, raw);
  one.device = 'phone';
  return one;
}

test('thousands who leave at once are detached a few per turn of the event loop: a send does not wait for them', async () => {
  let counting = true;
  const count = () => {
    turn++;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  const leavers = Array.from({ length: CROWD }, (_, i) => hub.abandon(session(`leaver-${i}`), `leaver-${i}`));
  // Sent by somebody who stays, after all of them have left.
  const sent = await api.as('alice')('POST /v1/messages', { to: 'bob', client_id: 'c', content: 'still here' });
  expect(sent.status).toBe(202);
  expect(begunIn.length).toBeLessThan(CROWD / 2);
  await Promise.all(leavers);
  counting = false;
  expect(begunIn).toHaveLength(CROWD);
  const perTurn = Map.groupBy(begunIn, (at) => at);
  expect(Math.max(...[...perTurn.values()].map((some) => some.length))).toBeLessThanOrEqual(16);
});
