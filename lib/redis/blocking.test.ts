import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
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
