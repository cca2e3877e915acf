/** The waker between two of its steps, where only a test can stop it: its store and FCM are made up here. */
import { expect, test } from 'vitest';
import type { PushVerbs, Wakeup } from '../../lib/redis/push-verbs.ts';
import { createLogger, createMetrics } from '../../lib/telemetry/index.ts';
import { until } from '../../ops/until.ts';
import type { PushQueue } from './queue.ts';
import { wakeupOf } from './queue.ts';
import type { Sender, Wake } from './sender.ts';
import { Waker } from './waker.ts';

const wakeup: Wakeup = wakeupOf(['user', 'bob', 'devices', 'phone', 'offset', '1-1']);

function stage() {
  const handedBack: string[] = [];
  const sent: Wake[] = [];
  const state = { held: true, looks: 0, onLook: () => {} };
  const queue = {
    handBack: async (_: number, ids: string[]) => void handedBack.push(...ids),
    finish: async () => {},
  };
  const push = {
    async stillDue() {
      state.looks++;
      state.onLook();
      return [[{ platform: 'android', token: 'a-token' }]];
    },
    ownsToken: async () => true,
  };
  const sender: Sender = {
    description: 'made up',
    async send(wake) {
      sent.push(wake);
      return { kind: 'sent' };
    },
    async close() {},
  };
  const waker = new Waker({
    queue: queue as unknown as PushQueue,
    push: push as unknown as PushVerbs,
    sender,
    metrics: createMetrics(),
    logger: createLogger({ name: 'test', level: 'silent' }),
    pace: { waitMs: 0, mostWaitMs: 0, attempts: 3, backoffMs: 20, mostBackoffMs: 40 },
    holds: () => state.held,
  });
  return { waker, state, sent, handedBack };
}

test('frozen between the second look and the sending: the lease is gone by then, and nothing is sent', async () => {
  const { waker, state, sent, handedBack } = stage();
  state.onLook = () => {
    state.held = false;
  };
  waker.add({ partition: 0, id: '1-0', wakeup });
  await until('looked again', 10_000, () => state.looks > 1);
  expect(sent).toEqual([]);
  await waker.leave(0);
  expect(handedBack).toEqual(['1-0']);
});

test('a lease that only seemed lost costs nothing: the wake-up is sent', async () => {
  const { waker, state, sent } = stage();
  state.held = false;
  state.onLook = () => {
    state.held = state.looks > 1;
  };
  waker.add({ partition: 0, id: '1-0', wakeup });
  await until('sent', 10_000, () => sent.length);
  expect(sent).toMatchObject([{ user: 'bob', device: 'phone' }]);
});
