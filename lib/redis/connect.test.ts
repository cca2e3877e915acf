import { type Cluster, Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { freePort, type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { keyspace } from '../keyspace/index.ts';
import type { BlockingConnection } from './blocking.ts';
import { checkDeployment } from './checks.ts';
import { connect, type RedisStore } from './connect.ts';
import { isRetryable } from './retryable.ts';
import { parseRedisUrl } from './url.ts';

const logger = pino({ level: 'silent' });
const PARTITIONS = 16;
const keys = keyspace(PARTITIONS);
const options = { logger, name: 'test' };
const deployment = { partitions: PARTITIONS, production: false, logger };

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  );
}

/** A server frozen by SIGSTOP, for as long as the work takes. */
async function frozen<T>(server: RedisServer, work: () => Promise<T>): Promise<T> {
  server.kill('SIGSTOP');
  try {
    return await work();
  } finally {
    server.kill('SIGCONT');
  }
}

describe('REDIS_URL', () => {
  test('has four forms', () => {
    expect(parseRedisUrl('redis://me:p%40ss@host:7000/2')).toEqual({
      kind: 'standalone',
      tls: false,
      nodes: [{ host: 'host', port: 7000 }],
      username: 'me',
      password: 'p@ss',
      db: 2,
      shown: 'redis://me:***@host:7000/2',
    });
    expect(parseRedisUrl('rediss://host')).toMatchObject({ tls: true, nodes: [{ host: 'host', port: 6379 }] });
    expect(parseRedisUrl('redis+sentinel://a:1,b/main')).toMatchObject({
      kind: 'sentinel',
      name: 'main',
      nodes: [{ port: 1 }, { port: 26_379 }],
    });
    expect(parseRedisUrl('redis+cluster://:secret@[::1]:1,b:2')).toMatchObject({
      kind: 'cluster',
      password: 'secret',
      nodes: [
        { host: '::1', port: 1 },
        { host: 'b', port: 2 },
      ],
    });
  });

  test.each(['http://a', 'redis://', 'redis://a:99999', 'redis://a,b', 'redis+sentinel://a:1', 'redis+cluster://a/x'])(
    'is refused with the forms that there are: %s',
    (url) => expect(() => parseRedisUrl(url)).toThrow(/REDIS_URL/),
  );

  test('never shows its password', () => {
    expect(() => parseRedisUrl('redis://u:geheim@a:99999')).toThrow(/u:\*\*\*@a/);
  });
});

describe('connecting fails with what is wrong and what to do', () => {
  test('nobody listens', async () => {
    const port = await freePort();
    const error = await failure(connect(`redis://127.0.0.1:${port}`, { ...options, timeoutMs: 600 }));
    expect(error.message).toMatch(
      new RegExp(`127.0.0.1:${port} within 0.6 s: connect ECONNREFUSED.*Start Redis there`),
    );
  });

  test('a cluster of which no node listens', async () => {
    const port = await freePort();
    const error = await failure(connect(`redis+cluster://127.0.0.1:${port}`, { ...options, timeoutMs: 600 }));
    expect(error.message).toMatch(/within 0.6 s: .*Start Redis there/);
  });

  test('a password is missing, or wrong', async () => {
    const server = await startRedis({ extraArgs: ['--requirepass', 'geheim'] });
    expect((await failure(connect(server.url, options))).message).toMatch(/NOAUTH.*Put the right user:password@/);
    const wrong = server.url.replace('redis://', 'redis://:falsch@');
    expect((await failure(connect(wrong, options))).message).toMatch(/\/\/:\*\*\*@.*WRONGPASS/);
    const store = await connect(server.url.replace('redis://', 'redis://:geheim@'), options);
    expect(await store.command.ping()).toBe('PONG');
    await store.close();
    await server.stop();
  });

  test('a frozen server', async () => {
    const server = await startRedis();
    const error = await frozen(server, () => failure(connect(server.url, { ...options, timeoutMs: 800 })));
    expect(error.message).toMatch(/within 0.8 s: no answer/);
    await server.stop();
  });
});

describe('a standalone server', () => {
  let server: RedisServer;
  let store: RedisStore;
  beforeAll(async () => {
    server = await startRedis();
    store = await connect(server.url, options);
  });
  afterAll(async () => {
    await store.close();
    await server.stop();
  });

  test('one command reads all partitions', () => {
    expect(store.kind).toBe('standalone');
    expect(store.groups([0, 1, 2])).toEqual([[0, 1, 2]]);
    expect(store.groups([])).toEqual([]);
  });

  test('is not taken for a cluster', async () => {
    const error = await failure(connect(server.url.replace('redis:', 'redis+cluster:'), options));
    expect(error.message).toMatch(/cluster support disabled.*set REDIS_URL to redis:\/\//);
  });

  test('a blocking read returns what comes, in order, and nothing when nothing comes', async () => {
    const connection = await store.blocking(0, PARTITIONS);
    const read = connection.xread([{ key: keys.log(1), after: '0-0' }], { count: 10, blockMs: 1000 });
    const id = await store.command.xadd(keys.log(1), '*', 'type', 'message', 'content', 'hi');
    expect(await read).toEqual([{ key: keys.log(1), entries: [{ id, fields: ['type', 'message', 'content', 'hi'] }] }]);
    expect(await connection.xread([{ key: keys.log(1), after: id! }], { count: 10, blockMs: 20 })).toEqual([]);
    expect(await connection.xread([{ key: keys.log(1), after: id! }], { count: 10 })).toEqual([]);
    for (const blockMs of [0, 1001, Number.NaN]) {
      await expect(connection.xread([{ key: 'a', after: '0-0' }], { count: 1, blockMs })).rejects.toThrow(RangeError);
    }
    connection.close();
  });

  test('a wrong type is an error that trying again does not help', async () => {
    const connection = await store.blocking(0, PARTITIONS);
    await store.command.set('text', 'x');
    const error = await failure(connection.xread([{ key: 'text', after: '0-0' }], { count: 1, blockMs: 50 }));
    expect(error.message).toMatch(/WRONGTYPE/);
    expect(isRetryable(error)).toBe(false);
    connection.close();
  });

  test('a frozen server: the blocking read rejects in time, and the next one works on a new socket', async () => {
    const connection = await store.blocking(0, PARTITIONS);
    let reconnects = 0;
    connection.onReconnect(() => reconnects++);
    const started = performance.now();
    const error = await frozen(server, () =>
      failure(connection.xread([{ key: keys.log(2), after: '0-0' }], { count: 1, blockMs: 200 })),
    );
    expect(error.message).toMatch(/no reply to XREAD within 2200 ms/);
    expect(isRetryable(error)).toBe(true);
    expect(performance.now() - started).toBeLessThan(4000);
    await store.command.xadd(keys.log(2), '1-1', 'a', 'b');
    expect(await connection.xread([{ key: keys.log(2), after: '0-0' }], { count: 1, blockMs: 500 })).toHaveLength(1);
    expect(reconnects).toBe(1);
    connection.close();
  });

  test('a frozen server: commands fail within a bounded time, and are not executed later', async () => {
    const errors = await frozen(server, async () => {
      const first = failure(store.command.incr('count'));
      return [await first, await failure(store.command.incr('count'))];
    });
    expect(errors.map((error) => isRetryable(error))).toEqual([true, true]);
    await expect.poll(() => store.command.ping().catch(() => ''), { timeout: 8000 }).toBe('PONG');
    // The first reached the frozen server's socket; the second never left.
    expect(Number(await store.command.get('count'))).toBeLessThanOrEqual(1);
  });

  test('a restarted server: what was in flight is rejected, what comes later works', async () => {
    const own = await startRedis();
    const mine = await connect(own.url, options);
    const connection = await mine.blocking(0, PARTITIONS);
    const reading = failure(connection.xread([{ key: 'a', after: '0-0' }], { count: 1, blockMs: 1000 }));
    own.kill('SIGKILL');
    expect(isRetryable(await reading)).toBe(true);
    expect(isRetryable(await failure(mine.command.set('a', 'b')))).toBe(true);
    let changes = 0;
    mine.onTopologyChange(() => changes++);
    const again = await startRedis({ dir: own.dir, port: own.port });
    await expect.poll(() => mine.command.ping().catch(() => ''), { timeout: 8000 }).toBe('PONG');
    expect(await connection.xread([{ key: 'a', after: '0-0' }], { count: 1, blockMs: 10 })).toEqual([]);
    expect(changes).toBe(1);
    await mine.close();
    await again.stop();
    await own.stop();
  });
});

describe('the deployment is checked before anything starts', () => {
  let server: RedisServer;
  let store: RedisStore;
  beforeAll(async () => {
    server = await startRedis();
    store = await connect(server.url, options);
  });
  afterAll(async () => {
    await store.close();
    await server.stop();
  });

  test('the first process decides the number of partitions, and another number is refused', async () => {
    await checkDeployment(store, deployment);
    await checkDeployment(store, deployment);
    await expect(checkDeployment(store, { ...deployment, partitions: 64 })).rejects.toThrow(
      /created with PARTITIONS=16, and this process has PARTITIONS=64.*Set PARTITIONS=16/,
    );
    expect(await store.command.hgetall('millrace')).toEqual({ partitions: '16' });
  });

  test('a server that evicts is refused', async () => {
    await store.command.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await expect(checkDeployment(store, deployment)).rejects.toThrow(/allkeys-lru.*maxmemory-policy noeviction/);
    await store.command.config('SET', 'maxmemory-policy', 'noeviction');
  });

  test('without an append-only file: a warning, and a refusal in production', async () => {
    await store.command.config('SET', 'appendonly', 'no');
    const warnings: unknown[] = [];
    const loud = pino({ level: 'warn' }, { write: (line: string) => warnings.push(JSON.parse(line)) });
    await checkDeployment(store, { ...deployment, logger: loud });
    expect(warnings).toMatchObject([{ level: 40, msg: expect.stringContaining('appendonly yes') }]);
    await expect(checkDeployment(store, { ...deployment, production: true })).rejects.toThrow(/appendonly yes/);
    await store.command.config('SET', 'appendonly', 'yes');
  });

  test('fewer replicas than a message waits for: a warning that says so', async () => {
    const warnings: unknown[] = [];
    const loud = pino({ level: 'warn' }, { write: (line: string) => warnings.push(JSON.parse(line)) });
    await checkDeployment(store, { ...deployment, ackReplicas: 1, logger: loud });
    expect(warnings).toMatchObject([{ level: 40, msg: expect.stringMatching(/0 replicas, and ACK_REPLICAS is 1/) }]);
  });
});

describe('a cluster of three', () => {
  let cluster: RedisCluster;
  let store: RedisStore;
  beforeAll(async () => {
    cluster = await startRedisCluster({ primaries: 3 });
    store = await connect(cluster.url, options);
  });
  afterAll(async () => {
    await store.close();
    await cluster.stop();
  });

  test('one command reads one partition', () => {
    expect(store.kind).toBe('cluster');
    expect(store.groups([0, 5])).toEqual([[0], [5]]);
  });

  test('its node is not taken for a standalone server', async () => {
    const error = await failure(connect(cluster.nodes[0]!.url, options));
    expect(error.message).toMatch(/is a node of a Redis cluster.*redis\+cluster:/);
  });

  test('every primary is checked', async () => {
    await checkDeployment(store, deployment);
    const third = new Redis(cluster.nodes[2]!.url);
    await third.config('SET', 'maxmemory-policy', 'volatile-ttl');
    await expect(checkDeployment(store, deployment)).rejects.toThrow(new RegExp(`:${cluster.nodes[2]!.port} evicts`));
    await third.config('SET', 'maxmemory-policy', 'noeviction');
    third.disconnect();
    await expect(checkDeployment(store, { ...deployment, partitions: 256 })).rejects.toThrow(/Set PARTITIONS=16/);
  });

  test('a blocking read reaches the owner of each partition', async () => {
    for (const partition of [0, 7, 15]) {
      const connection = await store.blocking(partition, PARTITIONS);
      const read = connection.xread([{ key: keys.log(partition), after: '0-0' }], { count: 1, blockMs: 1000 });
      await store.command.xadd(keys.log(partition), '5-1', 'p', String(partition));
      expect(await read).toEqual([
        { key: keys.log(partition), entries: [{ id: '5-1', fields: ['p', String(partition)] }] },
      ]);
      connection.close();
    }
  });

  test('a slot that moves takes commands and blocking reads with it', async () => {
    const partition = 0;
    const bell = keys.bell(partition, 'test');
    const command = store.command as Cluster;
    const slot = Number(await command.cluster('KEYSLOT', bell));
    const [from, to] = cluster.nodes;
    const clients = cluster.nodes.map((node) => new Redis(node.url));
    const connection: BlockingConnection = await store.blocking(partition, PARTITIONS);
    let reconnects = 0;
    connection.onReconnect(() => reconnects++);
    expect(await connection.xread([{ key: bell, after: '0-0' }], { count: 1, blockMs: 10 })).toEqual([]);

    await clients[1]!.cluster('SETSLOT', slot, 'IMPORTING', from!.id);
    await clients[0]!.cluster('SETSLOT', slot, 'MIGRATING', to!.id);
    const held = await clients[0]!.cluster('GETKEYSINSLOT', slot, 1000);
    if (held.length > 0) {
      await clients[0]!.migrate(to!.host, to!.port, '', 0, 2000, 'KEYS', ...(held as string[]));
    }
    for (const client of [clients[1]!, clients[0]!, clients[2]!]) await client.cluster('SETSLOT', slot, 'NODE', to!.id);

    await store.command.xadd(bell, '7-1', 'users', 'bob');
    expect(await connection.xread([{ key: bell, after: '0-0' }], { count: 1, blockMs: 1000 })).toHaveLength(1);
    expect(reconnects).toBe(1);
    connection.close();
    for (const client of clients) client.disconnect();
  });

  test('a dead node: its commands and reads fail in time, those of the others go on', async () => {
    const owner = cluster.nodes[2]!;
    const connection = await store.blocking(15, PARTITIONS);
    owner.kill('SIGKILL');
    const read = await failure(connection.xread([{ key: keys.log(15), after: '0-0' }], { count: 1, blockMs: 500 }));
    expect(isRetryable(read)).toBe(true);
    const started = performance.now();
    expect(isRetryable(await failure(store.command.xlen(keys.log(15))))).toBe(true);
    expect(performance.now() - started).toBeLessThan(9000);
    connection.close();
  });

  test('the whole cluster dead: commands fail instead of waiting for ever', async () => {
    for (const node of cluster.nodes) node.kill('SIGKILL');
    for (let i = 0; i < 3; i++) {
      const started = performance.now();
      const error = await failure(store.command.xlen(keys.log(i)));
      expect(error.message).not.toMatch(/did not fail/);
      expect(isRetryable(error)).toBe(true);
      expect(performance.now() - started).toBeLessThan(9000);
    }
  });
});
