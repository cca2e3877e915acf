/** The gateway's leases against a real Redis, and what each look at the store's side of it leads to. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import { GatewayLease, type LeaseTimes } from './lease.ts';
import { Registrations } from './registrations.ts';
import { type Api, startApi } from './routes/testing.ts';
import type { Session } from './session.ts';

const EVERY_MS = 50;
const WITHIN_MS = 10_000;

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api?.stop());
beforeEach(() => api.ctx.store.command.flushall());

const ALL = () => Array.from({ length: api.ctx.keys.partitions }, (_, p) => p);
/** What registrations know of a session. */
const session = (id: string, device = 'phone') => ({ id, device, registered: false }) as Session;

function start(times: Partial<LeaseTimes> = {}) {
  const registrations = new Registrations(api.ctx);
  const forgotten: number[] = [];
  const surplus: number[] = [];
  const events = {
    onForgotten: (p: number) => void forgotten.push(p),
    onSurplus: (p: number) => void surplus.push(p),
  };
  const lease = new GatewayLease(api.ctx, registrations, events, { everyMs: EVERY_MS, ...times });
  return { registrations, forgotten, surplus, lease };
}

const leases = () => api.ctx.store.command.mget(...ALL().map((p) => api.ctx.keys.gatewayLease(p, api.ctx.incarnation)));
const renewals = async () => (await calls('getex')) / ALL().length;
async function calls(command: string): Promise<number> {
  const text = await api.ctx.store.command.info('commandstats');
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(text)?.[1] ?? 0);
}
/** Waits until the leases were renewed so many times more. */
async function rounds(count: number): Promise<void> {
  const before = await renewals();
  await until('renewed again', WITHIN_MS, renewals, (now) => now >= before + count);
}
const held = () => until('held everywhere', WITHIN_MS, leases, (all) => all.every((each) => each !== null));

describe('the lease', () => {
  it('is held in every partition, by one call for all that one command may touch, and given back at the end', async () => {
    const { lease, forgotten, surplus } = start();
    await held();
    const first = await leases();
    const before = { renewed: await renewals(), calls: await calls('evalsha') };
    await rounds(3);
    const after = { renewed: await renewals(), calls: await calls('evalsha') };
    expect(after.calls - before.calls).toBeLessThanOrEqual(after.renewed - before.renewed + 1);
    expect(await leases()).toEqual(first);
    const ttl = await api.ctx.store.command.pttl(api.ctx.keys.gatewayLease(0, api.ctx.incarnation));
    expect(ttl).toBeGreaterThan(25_000);
    await lease.stop();
    expect(await leases()).toEqual(ALL().map(() => null));
    for (const p of ALL()) expect(await api.ctx.store.command.exists(api.ctx.keys.gateways(p))).toBe(0);
    expect([forgotten, surplus]).toEqual([[], []]);
  });

  it('that was gone in one partition is taken again, and that partition’s sessions are asserted once', async () => {
    const { lease, forgotten } = start();
    await held();
    await rounds(1);
    await api.ctx.store.command.del(api.ctx.keys.gatewayLease(2, api.ctx.incarnation));
    await until(
      'it was noticed',
      WITHIN_MS,
      () => forgotten,
      (list) => list.length > 0,
    );
    await rounds(3);
    expect(forgotten).toEqual([2]);
    await held();
    await lease.stop();
  });

  it('renewed late within its time was never gone: a hiccup asserts nothing', async () => {
    const { lease, forgotten } = start();
    await held();
    const first = await leases();
    api.redis.kill('SIGSTOP');
    const over = performance.now() + 10 * EVERY_MS;
    await until('some renewals were missed', WITHIN_MS, () => performance.now() > over);
    api.redis.kill('SIGCONT');
    await rounds(2);
    expect(await leases()).toEqual(first);
    expect(forgotten).toEqual([]);
    await lease.stop();
  });

  it('a floor that was raised is a reason to assert, in that partition alone', async () => {
    const { lease, forgotten } = start();
    await held();
    await rounds(1);
    await api.ctx.store.command.hset(api.ctx.keys.cursor(1), 'floor', '7-0');
    await until(
      'it was noticed',
      WITHIN_MS,
      () => forgotten,
      (list) => list.length > 0,
    );
    await rounds(2);
    expect(forgotten).toEqual([1]);
    await lease.stop();
  });

  it('stops at once, though the next renewal is far away', async () => {
    const { lease } = start({ everyMs: 3600_000 });
    await held();
    await lease.stop();
    expect(await leases()).toEqual(ALL().map(() => null));
  });
});

describe('registrations', () => {
  it('as many as the store has are no reason for anything; fewer or more are looked into, now and then', async () => {
    const { lease, registrations, forgotten, surplus } = start({ auditEveryMs: 3600_000 });
    const p = api.ctx.keys.partitionOf('ann');
    await registrations.attach(session('s1'), 'ann', undefined);
    await registrations.attach(session('s2', 'laptop'), 'ann', undefined);
    await held();
    await rounds(3);
    expect([forgotten, surplus]).toEqual([[], []]);
    await api.ctx.store.command.del(api.ctx.keys.served(p, api.ctx.incarnation));
    await until(
      'it was noticed',
      WITHIN_MS,
      () => forgotten,
      (list) => list.length > 0,
    );
    await rounds(4);
    expect([forgotten, surplus]).toEqual([[p], [p]]);
    await lease.stop();
  });

  it('a failed detach is repeated, and until then the number cannot be told', async () => {
    const registrations = new Registrations(api.ctx);
    const ann = session('s1');
    const p = api.ctx.keys.partitionOf('ann');
    await registrations.attach(ann, 'ann', undefined);
    expect(ann.registered).toBe(true);
    expect(registrations.differs(p, registrations.look(p), 1)).toBe(false);
    expect(registrations.differs(p, registrations.look(p), 0)).toBe(true);
    expect(registrations.differs(p, registrations.look(p), 2)).toBe(true);

    const look = registrations.look(p);
    api.redis.kill('SIGSTOP');
    const detached = registrations.detach(ann, 'ann');
    expect(registrations.look(p)).toBeUndefined();
    expect(registrations.differs(p, registrations.look(p), 7)).toBe(false);
    api.redis.kill('SIGCONT');
    await detached;
    expect(ann.registered).toBe(false);
    // Asked before it, answered after it: nothing follows from that.
    expect(registrations.differs(p, look, 1)).toBe(false);
    expect(registrations.differs(p, registrations.look(p), 0)).toBe(false);
    expect(await api.ctx.store.command.exists(api.ctx.keys.sessions('ann'))).toBe(0);
  });

  it('of sessions over the limit nothing is counted', async () => {
    const registrations = new Registrations(api.ctx);
    const p = api.ctx.keys.partitionOf('ann');
    const { sessions: limit } = api.ctx.config.limits;
    for (let i = 0; i < limit; i++) await registrations.attach(session(`s${i}`, `device-${i}`), 'ann', undefined);
    const late = session('late', 'one-more');
    expect(await registrations.attach(late, 'ann', undefined)).toBe('too_many');
    expect(late.registered).toBe(false);
    expect(registrations.differs(p, registrations.look(p), limit)).toBe(false);
  });

  it('that are no sessions of ours are detached, the others stay', async () => {
    const registrations = new Registrations(api.ctx);
    const p = api.ctx.keys.partitionOf('ann');
    await registrations.attach(session('ours'), 'ann', undefined);
    await registrations.attach(session('left', 'laptop'), 'ann', undefined);
    await registrations.detachSurplus(p, (id) => id === 'ours');
    expect(await api.ctx.store.command.hkeys(api.ctx.keys.sessions('ann'))).toEqual(['phone']);
    expect(await api.ctx.presence.served(p, api.ctx.incarnation, 10)).toMatchObject([{ session: 'ours' }]);
  });

  it('that cannot be detached are given up when the gateway stops: the reaper ends them', async () => {
    const registrations = new Registrations(api.ctx);
    const ann = session('s1');
    await registrations.attach(ann, 'ann', undefined);
    await api.ctx.store.command.call('ACL', 'SETUSER', 'default', '-evalsha', '-eval');
    try {
      registrations.stop();
      await registrations.detach(ann, 'ann');
    } finally {
      await api.ctx.store.command.call('ACL', 'SETUSER', 'default', '+@all');
    }
    expect(await api.ctx.store.command.hkeys(api.ctx.keys.sessions('ann'))).toEqual(['phone']);
    expect(api.logged.some((line) => line.includes('a session that ended stays registered'))).toBe(true);
  });
});
