/** Sends that queue while the store is away, on a real Redis behind a proxy that holds its answers. */
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import { ScriptLanes } from '../../lib/redis/script-lane.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { keys, message } from '../../lua/harness.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { born } from '../../ops/redis/born.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { Appends } from './appends.ts';

let server: RedisServer;
let proxy: TcpProxy;
let store: RedisStore;
beforeAll(async () => {
  server = await startRedis();
  proxy = await TcpProxy.start(() => [server]);
  store = await connect(`redis://${proxy.address}`, { name: 'test', logger: pino({ level: 'silent' }) });
  await born(store.command, keys);
});
afterAll(async () => {
  await store.close();
  await proxy.close();
  await server.stop();
});

it('a connection that breaks: all that queue behind the call are told with it, and not after a call of their own each', async () => {
  const verbs = new Verbs(store.command, keys, undefined, new ScriptLanes(store, keys, 0));
  const appends = new Appends({ verbs, store, keys });
  await appends.append(message('alice', 'dm:alice:bob', 'first'));
  const calls = vi.spyOn(verbs, 'appendAll');
  proxy.hold('down');
  const lost = Array.from({ length: 100 }, (_, i) => appends.append(message('alice', 'dm:alice:bob', `lost-${i}`)));
  const told = Promise.allSettled(lost);
  await until(
    'the answer is held',
    5_000,
    () => proxy.heldBytes('down'),
    (bytes) => bytes > 0,
  );
  proxy.cut();
  proxy.release('down');
  for (const result of await told) {
    expect(result.status).toBe('rejected');
    expect(result.status === 'rejected' && isRetryable(result.reason)).toBe(true);
  }
  expect(calls).toHaveBeenCalledTimes(1);
  const again = () => appends.append(message('alice', 'dm:alice:bob', 'lost-99')).catch(() => undefined);
  expect(await until('it is connected again', 10_000, again, (reply) => reply !== undefined)).toMatchObject({
    duplicate: false,
  });
});
