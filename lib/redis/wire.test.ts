/** What is asked for in one turn leaves in one write, and a reply that never comes is noticed without a timer for each. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { RedisTimeoutError } from './errors.ts';
import { Wire } from './wire.ts';

let server: RedisServer;
let client: Redis;
let wire: Wire;
let onLate: ReturnType<typeof vi.fn<() => void>>;

const PATIENT = { lateMs: 5000, withinMs: 5000 };

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
});
afterAll(() => server.stop());
beforeEach(async () => {
  client = new Redis(server.url, { lazyConnect: true, protocol: 2, retryStrategy: () => null });
  await client.connect();
  onLate = vi.fn();
  wire = new Wire(client, onLate);
});
afterEach(() => {
  server.kill('SIGCONT');
  client.disconnect();
});

test('requests of one turn are one write, and each has its own replies, whatever their characters', async () => {
  const write = vi.spyOn(client.stream, 'write');
  const plain = wire.request([['SET', 'a', 1], ['GET', 'a'], ['NONSENSE']], PATIENT);
  const rich = wire.request(
    [
      ['SET', 'b', 'größe 😀 \0'],
      ['GET', 'b'],
    ],
    PATIENT,
  );
  expect(await plain).toMatchObject(['OK', '1', { message: expect.stringContaining('unknown command') }]);
  expect(await rich).toEqual(['OK', 'größe 😀 \0']);
  expect(write).toHaveBeenCalledTimes(1);
  expect(await wire.request([['GET', 'a']], PATIENT)).toEqual(['1']);
  expect(write).toHaveBeenCalledTimes(2);
});

test('a server that stands still: each request is told so in its own time', async () => {
  await wire.request([['PING']], PATIENT);
  server.kill('SIGSTOP');
  const started = performance.now();
  const told = (withinMs: number) =>
    wire.request([['PING'], ['PING']], { lateMs: 1000, withinMs }).then(
      () => expect.unreachable(),
      (error: unknown) => {
        expect(error).toBeInstanceOf(RedisTimeoutError);
        return performance.now() - started;
      },
    );
  const [late, soon] = await Promise.all([told(300), told(60)]);
  expect(soon).toBeGreaterThanOrEqual(59);
  expect(soon).toBeLessThan(late);
  expect(late).toBeGreaterThanOrEqual(299);
});

test('a reply that is late: somebody is told once, and it is still waited for', async () => {
  await wire.request([['PING']], PATIENT);
  server.kill('SIGSTOP');
  const reply = wire.request([['PING']], { lateMs: 40, withinMs: 5000 });
  await vi.waitFor(() => expect(onLate).toHaveBeenCalled());
  server.kill('SIGCONT');
  expect(await reply).toEqual(['PONG']);
  expect(onLate).toHaveBeenCalledTimes(1);
});

test('a connection that ends: what is not answered is told so, and so is what comes later', async () => {
  server.kill('SIGSTOP');
  const cut = wire.request([['PING'], ['PING']], PATIENT);
  client.stream.destroy();
  const gone = { message: 'Connection is closed.' };
  expect(await cut).toMatchObject([gone, gone]);
  expect(await wire.request([['PING']], PATIENT)).toMatchObject([gone]);
});
