import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type SentinelSetup, startSentinel } from '../../ops/redis/sentinel.ts';
import { checkDeployment } from './checks.ts';
import { connect, type RedisStore } from './connect.ts';
import { isRetryable } from './retryable.ts';

const logger = pino({ level: 'silent' });
let setup: SentinelSetup;
let store: RedisStore;
beforeAll(async () => {
  setup = await startSentinel();
  store = await connect(setup.url, { logger, name: 'test' });
});
afterAll(async () => {
  await store.close();
  await setup.stop();
});

test('the Sentinels are asked for the primary, and it is the one that is checked', async () => {
  expect([store.kind, store.groups([0, 1])]).toEqual(['sentinel', [[0, 1]]]);
  await checkDeployment(store, { partitions: 16, production: true, logger });
  expect(await store.command.hget('millrace', 'partitions')).toBe('16');
});

test('a name that the Sentinels do not know is said', async () => {
  const url = setup.url.replace(/\/millrace$/, '/other');
  await expect(connect(url, { logger, name: 'test', timeoutMs: 800 })).rejects.toThrow(/name of the primary/);
});

test('the primary dies: commands and blocking reads go on at the promoted replica', async () => {
  const connection = await store.blocking(0, 16);
  let reconnects = 0;
  let changes = 0;
  connection.onReconnect(() => reconnects++);
  store.onTopologyChange(() => changes++);
  await store.command.xadd('log', '1-1', 'a', 'b');
  await store.command.wait(1, 1000);
  setup.primary.kill('SIGKILL');

  const write = async (): Promise<string> => {
    try {
      return String(await store.command.xadd('log', '*', 'a', 'c'));
    } catch (error) {
      if (!isRetryable(error)) throw error;
      return '';
    }
  };
  await expect.poll(write, { timeout: 20_000, interval: 100 }).toMatch(/-/);
  const read = async (): Promise<number> => {
    try {
      return (
        (await connection.xread([{ key: 'log', after: '0-0' }], { count: 10, blockMs: 100 }))[0]?.entries.length ?? 0
      );
    } catch (error) {
      if (!isRetryable(error)) throw error;
      return 0;
    }
  };
  await expect.poll(read, { timeout: 10_000 }).toBeGreaterThanOrEqual(2);
  expect(reconnects).toBeGreaterThanOrEqual(1);
  expect(changes).toBeGreaterThanOrEqual(1);
  connection.close();
});

test('all Sentinels gone and the primary too: commands fail within a bounded time', async () => {
  for (const server of [...setup.sentinels, ...setup.replicas]) server.kill('SIGKILL');
  for (let i = 0; i < 3; i++) {
    const started = performance.now();
    const error = await store.command.xlen('log').then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(isRetryable(error)).toBe(true);
    expect(performance.now() - started).toBeLessThan(8000);
  }
});
