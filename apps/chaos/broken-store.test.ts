/** A store that holds what no version of ours wrote: the server's own fault, and it says so without a word of the cause. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ask } from './ask.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(1);
});
afterAll(() => stage?.clear());

it('what the server cannot do is internal, 1011 or 500, without a word of the cause; others do not notice', async () => {
  const neighbour = await RawSession.start(stage.deployment, stage.gateway(0), 'neighbour');
  for (const key of [stage.keys.sessions('broken'), stage.keys.conversations('broken')]) {
    await stage.store.set(key, 'no hash');
  }
  const session = await RawSession.open(stage.gateway(0));
  session.hello(stage.deployment.token('broken'));
  expect((await session.ended).code).toBe(1011);
  expect(session.frames).toEqual([{ type: 'error', code: 'internal', message: expect.any(String) }]);
  const answer = await ask(stage, 'broken', 'GET /v1/conversations');
  expect(answer).toMatchObject({ status: 500, body: { error: { code: 'internal' } } });
  for (const text of [answer.text, JSON.stringify(session.frames)]) expect(text).not.toMatch(/WRONGTYPE|script|redis/i);
  expect(stage.complaints().length).toBeGreaterThan(0);
  await neighbour.ping('still there');
});
