import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const MOST = 1000;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(1, { env: { LOG_MAX_ENTRIES: String(MOST), LOG_MAX_BYTES: '2000000' } });
});
afterAll(() => stage?.clear());

it('while the workers stand still the log is bounded: unavailable and nothing stored, until they have caught up', async () => {
  const worker = [...stage.deployment.processes].find((p) => !p.roles.includes('gateway'))!;
  const log = stage.keys.log(stage.keys.partitionOf('dm:ann:bob'));
  const ann = await RawSession.start(stage.deployment, stage.gateway(0), 'ann');
  await worker.kill('SIGSTOP');
  let sent = 0;
  const answers = () => ann.of('accepted').length + ann.of('error').length;
  const send = async (count: number) => {
    for (let i = 0; i < count; i++) ann.send({ type: 'send', client_id: `c${sent++}`, to: 'bob', content: 'x' });
    await ann.until(() => answers() === sent, 'every answer');
  };
  await until(
    'the log is full',
    30_000,
    async () => {
      await send(50);
      return ann.of('error')[0];
    },
    (error) => error !== undefined,
  );
  const [refused] = ann.of('error');
  expect(refused).toMatchObject({ code: 'unavailable', retry_after_ms: expect.any(Number) });
  const held = await stage.store.xlen(log);
  expect(held).toBeGreaterThanOrEqual(MOST);
  await send(20);
  expect(await stage.store.xlen(log)).toBe(held);
  expect(ann.of('accepted').length).toBe(held);
  const text = await (await fetch(`${stage.gateway(0).address}/metrics`)).text();
  expect(text).toMatch(/millrace_log_fill_ratio\{partition="\d+"\} 1/);

  await worker.kill('SIGCONT');
  const client_id = String(refused?.client_id);
  await until('sends are accepted again', 60_000, async () => {
    ann.send({ type: 'send', client_id, to: 'bob', content: 'x' });
    sent++;
    await ann.until(() => answers() === sent, 'an answer');
    return ann.of('accepted').some((frame) => frame.client_id === client_id && frame.seq === held + 1);
  });
}, 120_000);

it('long messages fill it by their bytes', async () => {
  const worker = [...stage.deployment.processes].find((p) => !p.roles.includes('gateway'))!;
  const bea = await RawSession.start(stage.deployment, stage.gateway(0), 'bea');
  await worker.kill('SIGSTOP');
  const content = 'x'.repeat(8000);
  let sent = 0;
  await until(
    'a send is refused',
    30_000,
    async () => {
      for (let i = 0; i < 20; i++) bea.send({ type: 'send', client_id: `b${sent++}`, to: 'carl', content });
      await bea.until(() => bea.of('accepted').length + bea.of('error').length === sent, 'every answer');
      return bea.of('error')[0];
    },
    (error) => error?.code === 'unavailable',
  );
  expect(await stage.store.xlen(stage.keys.log(stage.keys.partitionOf('dm:bea:carl')))).toBeLessThan(MOST);
  await worker.kill('SIGCONT');
  await until('sends are accepted again', 60_000, async () => {
    const client_id = `b${sent++}`;
    bea.send({ type: 'send', client_id, to: 'carl', content: 'short' });
    await bea.until(() => bea.of('accepted').length + bea.of('error').length === sent, 'an answer');
    return bea.of('accepted').some((frame) => frame.client_id === client_id);
  });
}, 120_000);
