import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endWithUs } from '../../ops/reaper.ts';
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect, type RedisStore } from '../redis/connect.ts';
import { run } from '../redis/scripts.ts';
import { type LeaseOptions, PartitionLeases } from './leases.ts';

const PARTITIONS = 16;
const TTL_MS = 2000;
const ALL = Array.from({ length: PARTITIONS }, (_, p) => p);
const keys = keyspace(PARTITIONS);
const logger = pino({ level: 'silent' });

let server: RedisServer;
let store: RedisStore;
let roles = 0;
beforeAll(async () => {
  server = await startRedis();
  store = await connect(server.url, { logger, name: 'leases-test' });
});
afterAll(async () => {
  await store.close();
  await server.stop();
});

/** A worker of this process; its loop completes rounds until told otherwise. */
async function worker(role: string, name: string, more: Partial<LeaseOptions> = {}) {
  const events: string[] = [];
  const leases = new PartitionLeases({
    store,
    partitions: PARTITIONS,
    role,
    worker: name,
    ttlMs: TTL_MS,
    renewMs: 400,
    logger,
    onGained: (p) => events.push(`+${p}`),
    onLost: async (p) => void events.push(`-${p}`),
    ...more,
  });
  const rounds = setInterval(() => leases.completedRound(), 50);
  await leases.start();
  return {
    events,
    leases,
    held: () => leases.held().sort((a, b) => a - b),
    freezeLoop: () => clearInterval(rounds),
    stop: async () => {
      await leases.stop();
      clearInterval(rounds);
    },
  };
}

type ChildWorker = ReturnType<typeof childWorker>;

/** A worker in a process of its own, to be killed or frozen. */
function childWorker(
  role: string,
  name: string,
  { ttlMs, renewMs } = { ttlMs: TTL_MS, renewMs: 400 },
): { child: ChildProcess; held: Set<number>; events: string[] } {
  const at = (path: string): string => JSON.stringify(fileURLToPath(new URL(path, import.meta.url)));
  const code = `
    const { connect } = await import(${at('../redis/connect.ts')});
    const { PartitionLeases } = await import(${at('./leases.ts')});
    const { pino } = await import('pino');
    const logger = pino({ level: 'silent' });
    const store = await connect(${JSON.stringify(server.url)}, { logger, name: 'child' });
    const leases = new PartitionLeases({ store, partitions: ${PARTITIONS}, role: ${JSON.stringify(role)},
      worker: ${JSON.stringify(name)}, ttlMs: ${ttlMs}, renewMs: ${renewMs}, logger,
      onGained: (p) => console.log('+' + p), onLost: async (p) => console.log('-' + p) });
    setInterval(() => leases.completedRound(), 50);
    await leases.start();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  endWithUs(child, 'now');
  const held = new Set<number>();
  const events: string[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => {
    events.push(line);
    if (line.startsWith('+')) held.add(Number(line.slice(1)));
    else held.delete(Number(line.slice(1)));
  });
  return { child, held, events };
}

const role = (): string => `role-${++roles}`;
const soon = { timeout: 1500, interval: 20 };
const withinLease = { timeout: TTL_MS + 2000, interval: 20 };

test('one worker has everything; two share; one that stops hands over at once', async () => {
  const here = role();
  const a = await worker(here, 'a');
  expect(a.held()).toEqual(ALL);
  const b = await worker(here, 'b');
  await expect
    .poll(() => [a.held(), b.held()], soon)
    .toEqual([ALL.filter((p) => p % 2 === 0), ALL.filter((p) => p % 2)]);
  expect(await store.command.get(keys.lease(3, here))).toBe('b');

  await a.stop();
  expect(a.events.filter((event) => event.startsWith('-'))).toHaveLength(PARTITIONS);
  await expect.poll(() => b.held(), soon).toEqual(ALL);
  expect(await store.command.hkeys(keys.workers(here))).toEqual(['b']);
  await b.stop();
  expect(await store.command.exists(...ALL.map((p) => keys.lease(p, here)), keys.workers(here))).toBe(0);
});

test('a partition is given back only when its work has ended', async () => {
  const here = role();
  let finish: () => void = () => undefined;
  const busy = new Promise<void>((done) => {
    finish = done;
  });
  const a = await worker(here, 'a', { onLost: (p) => (p === 1 ? busy : Promise.resolve()) });
  const b = await worker(here, 'b');
  await expect.poll(() => b.held(), soon).toEqual(ALL.filter((p) => p % 2 === 1 && p !== 1));
  expect(await store.command.get(keys.lease(1, here))).toBe('a');
  finish();
  await expect.poll(() => b.held(), soon).toContain(1);
  await a.stop();
  await b.stop();
});

test('more workers than partitions: the ones over have none', async () => {
  const here = role();
  const workers = await Promise.all(['a', 'b', 'c'].map((name) => worker(here, name, { partitions: 2 })));
  await expect.poll(() => workers.map((each) => each.held()), soon).toEqual([[0], [1], []]);
  await Promise.all(workers.map((each) => each.stop()));
});

test('a killed worker’s partitions are taken within its lease', async () => {
  const here = role();
  const other = childWorker(here, 'a');
  await expect.poll(() => other.held.size, { timeout: 10_000 }).toBe(PARTITIONS);
  const mine = await worker(here, 'b');
  await expect.poll(() => mine.held().length, soon).toBe(PARTITIONS / 2);
  other.child.kill('SIGKILL');
  await expect.poll(() => mine.held(), withinLease).toEqual(ALL);
  await mine.stop();
});

test('workers that die one after the other: no partition is left alone for much longer than a lease', async () => {
  const here = role();
  const slow = { ttlMs: 6000, renewMs: 1200 };
  const lost = new Map<number, number>();
  let longest = 0;
  const mine = await worker(here, 'c', {
    ...slow,
    onGained: (p) => {
      longest = Math.max(longest, performance.now() - (lost.get(p) ?? Number.POSITIVE_INFINITY));
      lost.delete(p);
    },
  });
  const [a, b] = ['a', 'b'].map((name) => childWorker(here, name, slow)) as [ChildWorker, ChildWorker];
  const shared = () => [a.held.size, b.held.size, mine.held().length];
  await expect.poll(shared, { timeout: 20_000 }).toEqual([6, 5, 5]);

  const kill = (victim: ChildWorker) => {
    victim.child.kill('SIGKILL');
    for (const p of victim.held) lost.set(p, performance.now());
  };
  kill(a);
  const from = performance.now();
  await until('the first one’s leases are about to end', slow.ttlMs, () => performance.now() - from > 0.6 * slow.ttlMs);
  kill(b);
  await expect.poll(() => mine.held(), { timeout: 3 * slow.ttlMs }).toEqual(ALL);
  expect(longest).toBeLessThan(slow.ttlMs + 2000);
  await mine.stop();
});

test('a frozen worker’s partitions are taken; when it wakes it is told what it lost, and gets its share again', async () => {
  const here = role();
  const other = childWorker(here, 'a');
  await expect.poll(() => other.held.size, { timeout: 10_000 }).toBe(PARTITIONS);
  const mine = await worker(here, 'b');
  await expect.poll(() => mine.held().length, soon).toBe(PARTITIONS / 2);
  other.child.kill('SIGSTOP');
  await expect.poll(() => mine.held(), withinLease).toEqual(ALL);
  const before = other.events.length;
  other.child.kill('SIGCONT');
  await expect
    .poll(() => other.events.slice(before, before + PARTITIONS / 2).sort(), soon)
    .toEqual(
      ALL.filter((p) => p % 2 === 0)
        .map((p) => `-${p}`)
        .sort(),
    );
  await expect.poll(() => [other.held.size, mine.held().length], soon).toEqual([PARTITIONS / 2, PARTITIONS / 2]);
  other.child.kill('SIGKILL');
  await mine.stop();
});

test('a loop that stands still does not look healthy: it stops renewing, says so once, and another takes over', async () => {
  const here = role();
  let stuck = 0;
  const a = await worker(here, 'a', { stuckMs: 1000, onStuck: () => stuck++ });
  a.freezeLoop();
  await expect.poll(() => stuck, { timeout: 3000 }).toBe(1);
  const b = await worker(here, 'b');
  await expect.poll(() => b.held(), withinLease).toEqual(ALL);
  expect(a.held()).toEqual([]);
  expect(stuck).toBe(1);
  await a.stop();
  await b.stop();
});

test('a loop that waits for a frozen Redis is not called stuck', async () => {
  const own = await startRedis();
  const mine = await connect(own.url, { logger, name: 'own' });
  let stuck = 0;
  const a = await worker(role(), 'a', { store: mine, ttlMs: 20_000, stuckMs: 2500, onStuck: () => stuck++ });
  own.kill('SIGSTOP');
  a.freezeLoop();
  await new Promise((done) => setTimeout(done, 4000));
  own.kill('SIGCONT');
  a.leases.completedRound();
  expect([stuck, a.held().length]).toEqual([0, PARTITIONS]);
  await expect.poll(() => stuck, { timeout: 8000 }).toBe(1);
  await a.stop();
  await mine.close();
  await own.stop();
});

test('a worker without partitions is never stuck', async () => {
  const here = role();
  let stuck = 0;
  const a = await worker(here, 'a', { partitions: 1 });
  const b = await worker(here, 'b', { partitions: 1, stuckMs: 300, onStuck: () => stuck++ });
  b.freezeLoop();
  await new Promise((done) => setTimeout(done, 900));
  expect([a.held(), b.held(), stuck]).toEqual([[0], [], 0]);
  await Promise.all([a.stop(), b.stop()]);
});

test('without Redis a worker stops believing in its leases by its own clock, and gets them again afterwards', async () => {
  const own = await startRedis();
  const mine = await connect(own.url, { logger, name: 'own' });
  let stuck = 0;
  const a = await worker(role(), 'a', { store: mine, stuckMs: 1000, onStuck: () => stuck++ });
  expect(a.held()).toEqual(ALL);
  own.kill('SIGSTOP');
  await expect.poll(() => a.events.filter((event) => event.startsWith('-')).length, withinLease).toBe(PARTITIONS);
  own.kill('SIGCONT');
  await expect.poll(() => a.held(), { timeout: 10_000 }).toEqual(ALL);
  expect(stuck).toBe(0);
  await a.stop();
  await mine.close();
  await own.stop();
});

describe('scripts', () => {
  const renew = (who: string, ttl = 1000) => run<number>(store.command, 'lease_renew', ['lease:{t}:x'], [who, ttl]);
  const release = (who: string) => run<number>(store.command, 'lease_release', ['lease:{t}:x'], [who]);

  test('lease_renew takes what is free, keeps what is ours, leaves what is another’s', async () => {
    expect([await renew('a'), await renew('a'), await renew('b')]).toEqual([2, 1, 0]);
    expect(await store.command.pttl('lease:{t}:x')).toBeGreaterThan(900);
  });

  test('lease_release gives back only what is ours', async () => {
    expect([await release('b'), await release('a'), await release('a')]).toEqual([0, 1, 0]);
  });

  test('lease_join forgets the dead', async () => {
    const workers = 'workers:{t}:x';
    await store.command.hset(workers, 'old', '1000');
    const join = (who: string) => run<string[]>(store.command, 'lease_join', [workers], [who, 5000]);
    expect(await join('a')).toEqual(['a', await store.command.hget(workers, 'a')]);
    const both = await join('b');
    expect(both.filter((_, i) => i % 2 === 0).sort()).toEqual(['a', 'b']);
    expect(await store.command.hexists(workers, 'old')).toBe(0);
  });
});

test('on a cluster too', async () => {
  const cluster = await startRedisCluster();
  const clustered = await connect(cluster.url, { logger, name: 'leases-test' });
  const a = await worker(role(), 'a', { store: clustered });
  expect(a.held()).toEqual(ALL);
  await a.stop();
  await clustered.close();
  await cluster.stop();
});
