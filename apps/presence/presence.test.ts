/** The presence role on a real Redis, with gateways that are only names. Its times are a tenth of the real ones. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openArchive } from '../../lib/archive/index.ts';
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { loadConfig } from '../../lib/config/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { connect } from '../../lib/redis/connect.ts';
import { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { createLogger, createMetrics } from '../../lib/telemetry/index.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { startPresence } from './main.ts';

const TIMES = { graceMs: 500, settleEveryMs: 50, rollCallEveryMs: 100, missingMs: 1000, massMs: 3000 };
const LEASE_MS = 30_000;
const NO_HURRY = new AbortController().signal;
const SOON_MS = 8000;
const keys = keyspace(16, { oneNode: true });

let server: RedisServer;
let redis: Redis;
let verbs: Verbs;
let presence: PresenceVerbs;
let context: AppContext;
let logged: string[];
let running: RunningApp[] = [];

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  const logger = createLogger({ name: 'test', level: 'info', destination: { write: (line) => logged.push(line) } });
  const config = loadConfig({ REDIS_URL: server.url, JWT_SECRET: 'x'.repeat(32) });
  const store = await connect(server.url, { logger, name: 'presence-test' });
  redis = store.command as Redis;
  verbs = new Verbs(redis, keys);
  presence = new PresenceVerbs(redis, keys);
  const archive = await openArchive('sqlite::memory:', { logger });
  context = { config, store, archive, logger, metrics: createMetrics(), incarnation: 'test' };
});
beforeEach(async () => {
  await Promise.all(running.map((app) => app.stop(NO_HURRY)));
  running = [];
  logged = [];
  await redis.flushall();
  await redis.config('RESETSTAT');
});
afterAll(async () => {
  await Promise.all(running.map((app) => app.stop(NO_HURRY)));
  context.metrics.stop();
  await context.archive.close();
  await context.store.close();
  await server.stop();
});

const ALL = Array.from({ length: 16 }, (_, p) => p);
async function start(incarnation = 'worker', times = {}): Promise<RunningApp> {
  const app = await startPresence({ ...context, incarnation, metrics: createMetrics() }, { ...TIMES, ...times });
  running.push(app);
  return app;
}
const user = (i: number) => `user-${i}`;
const sessionOf = (name: string, gateway: string, device = 'phone') => ({
  user: name,
  device,
  session: `${name}-${device}-${gateway}`,
  gateway,
});
const attach = (name: string, gateway: string, device?: string) =>
  verbs.attach({ ...sessionOf(name, gateway, device), maxSessions: 8, maxDevices: 8 });
const renew = (gateway: string) => presence.renewGateway(gateway, ALL, LEASE_MS);
const die = (gateway: string) => redis.del(...ALL.map((p) => keys.gatewayLease(p, gateway)));
const statuses = async (names: readonly string[]) => (await presence.presenceOf(names)).map(({ status }) => status);
const allAre = (status: string, names: readonly string[], withinMs = SOON_MS) =>
  until(
    `all are ${status}`,
    withinMs,
    () => statuses(names),
    (seen) => seen.every((each) => each === status),
  );
const registered = async (gateway: string) => {
  const registries = await Promise.all(ALL.map((p) => redis.hexists(keys.gateways(p), gateway)));
  return registries.some((there) => there === 1);
};

describe('who leaves', () => {
  it('is offline after the grace, since their last session ended; who is back within it never was', async () => {
    await start();
    await renew('gw1');
    for (const name of ['ann', 'bob', 'cat']) await attach(name, 'gw1');
    await attach('cat', 'gw1', 'laptop');
    const [before] = await presence.presenceOf(['bob']);
    for (const name of ['ann', 'bob', 'cat']) await verbs.detach(sessionOf(name, 'gw1'));
    const left = Number(await redis.zscore(keys.leaving(keys.partitionOf('ann')), 'ann'));
    await attach('bob', 'gw2');
    await allAre('offline', ['ann']);
    expect(await presence.presenceOf(['ann'])).toEqual([{ status: 'offline', since: left }]);
    expect(await presence.presenceOf(['bob'])).toEqual([before]);
    expect(await statuses(['cat'])).toEqual(['online']);
  });

  it('a backlog of a thousand is settled by whoever starts next', async () => {
    await renew('gw1');
    const names = Array.from({ length: 1000 }, (_, i) => user(i));
    await Promise.all(names.map((name) => attach(name, 'gw1')));
    await Promise.all(names.map((name) => verbs.detach(sessionOf(name, 'gw1'))));
    expect(new Set(await statuses(names))).toEqual(new Set(['online']));
    await start();
    await allAre('offline', names);
    expect(await redis.exists(...ALL.map((p) => keys.leaving(p)))).toBe(0);
  });
});

describe('a gateway that died', () => {
  it('one of two: its sessions end, last seen at its last renewal; the other’s stay', async () => {
    await start();
    await Promise.all([renew('gw1'), renew('gw2')]);
    const names = Array.from({ length: 300 }, (_, i) => user(i));
    await Promise.all(names.map((name, i) => attach(name, i % 2 ? 'gw1' : 'gw2')));
    const both = user(1);
    await attach(both, 'gw2', 'laptop');
    await renew('gw1'); // the last sign of life
    const last = Number(await redis.hget(keys.gateways(keys.partitionOf(user(3))), 'gw1'));
    await die('gw1');
    const gone = names.filter((name, i) => i % 2 && name !== both);
    await allAre('offline', gone);
    expect(new Set(await statuses([both, ...names.filter((_, i) => i % 2 === 0)]))).toEqual(new Set(['online']));
    const [seen] = await presence.presenceOf([user(3)]);
    expect(Math.abs((seen?.since ?? 0) - last)).toBeLessThan(50);
    expect(await redis.exists(...gone.map((name) => keys.sessions(name)))).toBe(0);
    await until('it is forgotten', SOON_MS, async () => !(await registered('gw1')));
    expect(await registered('gw2')).toBe(true);
    expect(await redis.exists(...ALL.map((p) => keys.served(p, 'gw1')))).toBe(0);
  });

  it('is not dead while its home partition has its lease', async () => {
    await start();
    await renew('gw1');
    const home = keys.partitionOf('gw1');
    const elsewhere =
      Array.from({ length: 99 }, (_, i) => user(i)).find((name) => keys.partitionOf(name) !== home) ?? '';
    await attach(elsewhere, 'gw1');
    const p = keys.partitionOf(elsewhere);
    await redis.del(keys.gatewayLease(p, 'gw1'));
    await until('it was looked for at home', SOON_MS, async () => (await calls('exists')) > 3);
    expect(await statuses([elsewhere])).toEqual(['online']);
    expect(await redis.hget(keys.sessions(elsewhere), 'phone')).toContain('gw1');
    await redis.del(keys.gatewayLease(home, 'gw1'));
    await allAre('offline', [elsewhere]);
  });

  it('three of three: nobody is reaped until the minute is over, and there is an alarm', async () => {
    const started = performance.now();
    await start();
    for (const gateway of ['gw1', 'gw2', 'gw3']) await attach(`of-${gateway}`, gateway); // never had a lease
    const names = ['of-gw1', 'of-gw2', 'of-gw3'];
    await until('the alarm', SOON_MS, () => logged.some((line) => /"level":50.*look dead at once/.test(line)));
    await allAre('offline', names);
    expect(performance.now() - started).toBeGreaterThan(TIMES.massMs);
    expect(logged.filter((line) => /look dead at once/.test(line))).toHaveLength(1);
  });

  it('three of three that come back within the minute: nobody is ever offline', async () => {
    await start();
    const gateways = ['gw1', 'gw2', 'gw3'];
    for (const gateway of gateways) await attach(`of-${gateway}`, gateway);
    await until('the alarm', SOON_MS, () => logged.some((line) => /look dead at once/.test(line)));
    await Promise.all(gateways.map(renew));
    await rollCalls(30);
    expect(await statuses(gateways.map((gateway) => `of-${gateway}`))).toEqual(['online', 'online', 'online']);
  });

  it('a lease that comes back in the middle of reaping ends it', async () => {
    const names = Array.from({ length: 4000 }, (_, i) => `in-${i}`).filter((name) => keys.partitionOf(name) === 3);
    expect(names.length).toBeGreaterThan(128);
    await Promise.all(names.map((name) => attach(name, 'gw1')));
    await start();
    const left = () => redis.scard(keys.served(3, 'gw1'));
    await until('reaping has begun', SOON_MS, left, (n) => n < names.length);
    await renew('gw1');
    const held = await left();
    expect(held).toBeGreaterThan(0);
    await rollCalls(20);
    expect(await left()).toBe(held);
    expect(await redis.hexists(keys.gateways(3), 'gw1')).toBe(1);
  });

  it('what cannot be detached is left, and holds up nobody', async () => {
    await start();
    await attach('bob', 'gw1');
    await attach('ann', 'gw1');
    await redis.set(keys.sessions('bob'), 'not a hash');
    await allAre('offline', ['ann']);
    await until('it is forgotten', SOON_MS, async () => !(await registered('gw1')));
    expect(logged.some((line) => /"level":50.*cannot be detached/.test(line))).toBe(true);
  });
});

describe('workers', () => {
  it('one that stops in the middle of reaping leaves the rest to the next', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => user(i));
    await Promise.all(names.map((name) => attach(name, 'gw1')));
    const first = await start('first');
    await until('reaping has begun', SOON_MS, async () => (await statuses(names)).includes('offline'));
    await first.stop(NO_HURRY);
    expect(await statuses(names)).toContain('online');
    await start('second');
    await allAre('offline', names);
  });

  it('share the partitions', async () => {
    await start('first');
    await start('second');
    const holders = async () => new Set(await redis.mget(...ALL.map((p) => keys.lease(p, 'presence'))));
    await until('both have some', SOON_MS, holders, (set) => set.size === 2 && !set.has(null));
    await attach('ann', 'gw1');
    await attach('bob', 'gw1');
    await allAre('offline', ['ann', 'bob']);
  });

  it('Redis frozen for longer than the patience: nobody is reaped for it', async () => {
    await start();
    await attach('ann', 'gw1');
    await presence.renewGateway('gw1', ALL, 1500);
    await rollCalls(3);
    server.kill('SIGSTOP');
    const frozenUntil = performance.now() + 2500;
    await until('the freeze is over', SOON_MS, () => performance.now() > frozenUntil);
    server.kill('SIGCONT');
    // The lease has expired, as in a failover; its gateway, which waited like everyone, renews it a moment later.
    await rollCalls(4);
    expect(await redis.exists(keys.gatewayLease(keys.partitionOf('ann'), 'gw1'))).toBe(0);
    await renew('gw1');
    await rollCalls(20);
    expect(await statuses(['ann'])).toEqual(['online']);
  });
});

/** Waits for so many more. */
async function rollCalls(count: number): Promise<void> {
  const asked = () => calls('mget').catch(() => 0); // frozen
  const before = await asked();
  await until(`${count} more roll calls`, 2 * SOON_MS, asked, (now) => now >= before + 16 * count);
}

async function calls(command: string): Promise<number> {
  const found = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await redis.info('commandstats'));
  return Number(found?.[1] ?? 0);
}
