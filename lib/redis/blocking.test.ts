import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { WatchedConnection } from './blocking.ts';

let servers: [RedisServer, RedisServer];
beforeAll(async () => {
  servers = [await startRedis({ appendOnly: false }), await startRedis({ appendOnly: false })];
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});

test('a read under way when the keys go to another server is answered by that one', async () => {
  let owner = 0;
  let changed = () => {};
  const connection = new WatchedConnection({
    dial: () => new Redis(servers[owner]!.url, { lazyConnect: true, protocol: 2, retryStrategy: () => null }),
    isCurrent: ({ options }) => options.port === servers[owner]!.port,
    lookAgain: () => undefined,
    onTopologyChange: (listener) => {
      changed = listener;
      return () => {};
    },
  });
  let reconnects = 0;
  connection.onReconnect(() => reconnects++);
  await connection.open();

  const other = new Redis(servers[1].url);
  await other.xadd('s', '7-1', 'on', 'the other');
  const read = connection.xread([{ key: 's', after: '0-0' }], { count: 1, blockMs: 1000 });
  await Promise.resolve(); // the command is on its way to the first server, which has nothing
  owner = 1;
  changed();
  expect(await read).toEqual([{ key: 's', entries: [{ id: '7-1', fields: ['on', 'the other'] }] }]);
  expect(reconnects).toBe(1);

  const last = connection.xread([{ key: 's', after: '7-1' }], { count: 1, blockMs: 1000 });
  await Promise.resolve();
  connection.close();
  await expect(last).rejects.toThrow(/closed/);
  other.disconnect();
});

test('a read that continues another is refused on another connection: what the first one read may not be there', async () => {
  const connection = new WatchedConnection({
    dial: () => new Redis(servers[0].url, { lazyConnect: true, protocol: 2, retryStrategy: () => null }),
    isCurrent: () => true,
    lookAgain: () => undefined,
    onTopologyChange: () => () => {},
  });
  const admin = new Redis(servers[0].url);
  for (const id of ['1-1', '1-2', '1-3']) await admin.xadd('log', id, 'a', 'b');
  const read = (after: string, readOn = false) => connection.xread([{ key: 'log', after }], { count: 1, readOn });
  await read('0-0');
  expect(await read('1-1', true)).toMatchObject([{ entries: [{ id: '1-2' }] }]);
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await expect(read('1-2', true)).rejects.toThrow(/closed|broke/);
  await expect(read('1-2', true)).rejects.toThrow(/broke/);
  // From where the caller was.
  expect(await read('0-0')).toMatchObject([{ entries: [{ id: '1-1' }] }]);
  admin.disconnect();
  connection.close();
});

test('a connection that is being made to a server that stands still is made to another one when that has the keys', async () => {
  let owner = 0;
  let changed = () => {};
  const dialed: Redis[] = [];
  const connection = new WatchedConnection({
    dial: () => {
      dialed.push(new Redis(servers[owner]!.url, { lazyConnect: true, protocol: 2, retryStrategy: () => null }));
      return dialed.at(-1)!;
    },
    isCurrent: ({ options }) => options.port === servers[owner]!.port,
    lookAgain: () => undefined,
    onTopologyChange: (listener) => {
      changed = listener;
      return () => {};
    },
  });
  servers[0].kill('SIGSTOP');
  try {
    const opening = connection.open();
    await until('it waits for an answer', 5_000, () => dialed[0]?.status === 'connect');
    const from = performance.now();
    owner = 1;
    changed();
    // Who waits is not refused meanwhile.
    expect((await opening).options.port).toBe(servers[1].port);
    // Far sooner than a connection that is not made is given up.
    expect(performance.now() - from).toBeLessThan(2_000);
    expect(dialed).toHaveLength(2);
  } finally {
    servers[0].kill('SIGCONT');
    connection.close();
  }
});

test('a reply that is late lets look whether another server has the keys, long before it is given up', async () => {
  let looks = 0;
  const connection = new WatchedConnection({
    dial: () => new Redis(servers[0].url, { lazyConnect: true, protocol: 2, retryStrategy: () => null }),
    isCurrent: () => true,
    lookAgain: () => void looks++,
    onTopologyChange: () => () => {},
  });
  await connection.open();
  expect(await connection.pipeline([['PING']])).toEqual(['PONG']);
  servers[0].kill('SIGSTOP');
  try {
    let given = false;
    const settled = connection.pipeline([['PING']]).finally(() => {
      given = true;
    });
    await until('it looks', 4_000, () => looks > 0);
    expect(given).toBe(false);
    servers[0].kill('SIGCONT');
    expect(await settled).toEqual(['PONG']);
    expect(looks).toBe(1);
  } finally {
    servers[0].kill('SIGCONT');
    connection.close();
  }
});
