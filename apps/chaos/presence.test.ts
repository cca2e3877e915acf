/** Who is online, after what happens to gateways and to Redis: it converges to the truth, and nobody flaps more than once. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Presence, PresenceVerbs, parsePresence } from '../../lib/redis/presence-verbs.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { keys, PARTITIONS, World } from './world.ts';

/** Two lease times. */
const CONVERGED_MS = 60_000;
const ALL = Array.from({ length: PARTITIONS }, (_, p) => p);

let killed: Room;
let shaken: Room;
let restarted: Room;
/** The full form (`CHAOS=full`): Redis is away for longer than a lease lasts. */
const AWAY_MS = process.env.CHAOS === 'full' ? 35_000 : 2000;

/** Two gateways with twenty users each, and all that is published of them. */
class Room {
  readonly world: World;
  readonly verbs: PresenceVerbs;
  readonly gateways: readonly MillraceProcess[];
  readonly reaper: MillraceProcess;
  readonly heard = new Map<string, Presence['status'][]>();
  /** By user. */
  readonly sessions = new Map<string, RawSession>();

  private constructor(world: World, gateways: readonly MillraceProcess[], reaper: MillraceProcess) {
    this.world = world;
    this.gateways = gateways;
    this.reaper = reaper;
    this.verbs = new PresenceVerbs(world.redis, keys);
  }

  static async open(): Promise<Room> {
    const world = await World.start();
    const [first, second, reaper] = await Promise.all([
      world.deployment.start('gateway'),
      world.deployment.start('gateway'),
      world.deployment.start('presence'),
    ]);
    const room = new Room(world, [first, second], reaper);
    const subscriber = world.redis.duplicate();
    for (const redis of [world.redis, subscriber]) redis.on('error', () => undefined); // it is killed
    subscriber.on('smessage', (channel: string, message: string) => {
      const presence = parsePresence(message);
      const user = channel.slice(channel.lastIndexOf(':') + 1);
      if (presence) room.heard.set(user, [...(room.heard.get(user) ?? []), presence.status]);
    });
    await Promise.all(room.users().map((user) => subscriber.ssubscribe(keys.presence(user))));
    room.stop = async () => {
      for (const session of room.sessions.values()) session.socket.terminate();
      subscriber.disconnect();
      await world.stop();
    };
    const start = async (gateway: MillraceProcess, user: string) => {
      room.sessions.set(user, await RawSession.start(world.deployment, gateway, user));
    };
    await Promise.all(room.users().map((user, i) => start(i % 2 ? second : first, user)));
    expect(await room.statuses(room.users())).toEqual(room.users().map(() => 'online'));
    return room;
  }

  stop: () => Promise<void> = async () => undefined;

  users(gateway?: 0 | 1): string[] {
    const all = Array.from({ length: 40 }, (_, i) => `user-${i}`);
    return gateway === undefined ? all : all.filter((_, i) => i % 2 === gateway);
  }

  async statuses(users: readonly string[]): Promise<Presence['status'][]> {
    return (await this.verbs.presenceOf(users)).map(({ status }) => status);
  }

  allAre(status: Presence['status'], users: readonly string[], withinMs = CONVERGED_MS) {
    return until(
      `all are ${status}`,
      withinMs,
      () => this.statuses(users),
      (seen) => seen.every((each) => each === status),
    );
  }

  /** Whose sockets are open. */
  connected(): string[] {
    return this.users().filter((user) => this.sessions.get(user)?.socket.readyState === 1);
  }

  /** What was published of each of these users since they came, once each kind. */
  histories(users: readonly string[]): string[] {
    return [...new Set(users.map((user) => (this.heard.get(user) ?? []).join(' ')))];
  }

  /** Both gateways have their leases, the live one as of now. */
  async renewedSince(ms: number, gateway: 0 | 1): Promise<void> {
    const mine = `-${this.gateways[gateway]?.pid}-`;
    const renewals = async () => {
      const all = await Promise.all(ALL.map((p) => this.world.redis.hgetall(keys.gateways(p))));
      return all.map((registry) => Number(Object.entries(registry).find(([name]) => name.includes(mine))?.[1] ?? 0));
    };
    await until('it has renewed its leases', 15_000, renewals, (times) => times.every((time) => time > ms));
  }
}

beforeAll(async () => {
  [killed, shaken, restarted] = await Promise.all([Room.open(), Room.open(), Room.open()]);
});
afterAll(() => Promise.all([killed?.stop(), shaken?.stop(), restarted?.stop()]));

it.concurrent('one of two gateways killed: its users are offline within two lease times, last seen when it last lived', async () => {
  const killedAt = Date.now();
  await killed.gateways[0]?.kill('SIGKILL');
  const [back = ''] = killed.users(0);
  const again = await RawSession.start(killed.world.deployment, killed.gateways[1] as MillraceProcess, back);
  killed.sessions.set(back, again);
  const gone = killed.users(0).slice(1);
  await killed.allAre('offline', gone);
  for (const { since } of await killed.verbs.presenceOf(gone)) {
    expect(since).toBeLessThanOrEqual(killedAt + 100);
    expect(since).toBeGreaterThan(killedAt - 6000);
  }
  expect(await killed.statuses([back, ...killed.users(1)])).toEqual(Array(21).fill('online'));
  expect(killed.histories(gone)).toEqual(['online offline']);
  expect(killed.histories([back, ...killed.users(1)])).toEqual(['online']);
  expect(await killed.world.redis.exists(...gone.map((user) => keys.sessions(user)))).toBe(0);
}, 100_000);

it.concurrent('a gateway frozen for twenty seconds, then presence forgotten, then a frozen one reaped', async () => {
  const { gateways, world } = shaken;
  await gateways[0]?.kill('SIGSTOP');
  const frozenUntil = performance.now() + 20_000;
  await until('twenty seconds are over', 30_000, () => performance.now() > frozenUntil);
  const wokenAt = Date.now();
  await gateways[0]?.kill('SIGCONT');
  await shaken.renewedSince(wokenAt, 0);
  expect(shaken.histories(shaken.users())).toEqual(['online']);

  const forgotten = (await world.redis.keys('*')).filter((key) =>
    /^(presence|gateway|gateways|served|leaving|sessions):/.test(key),
  );
  await world.redis.del(...forgotten);
  expect(await shaken.statuses(shaken.users())).toContain('offline');
  await shaken.allAre('online', shaken.users(), 20_000);
  for (const history of shaken.histories(shaken.users())) expect(history).not.toContain('offline');

  // As if it had been frozen until its leases lapsed: it is reaped, wakes, and puts its sessions back.
  await gateways[1]?.kill('SIGSTOP');
  const mine = `-${gateways[1]?.pid}-`;
  await world.redis.del(...(await world.redis.keys('gateway:*')).filter((key) => key.includes(mine)));
  await shaken.allAre('offline', shaken.users(1), 30_000);
  await gateways[1]?.kill('SIGCONT');
  await shaken.allAre('online', shaken.users(1), 20_000);
  for (const history of shaken.histories(shaken.users(1))) expect(history).toMatch(/^(online ){1,2}offline online$/);
  expect(shaken.connected()).toEqual(shaken.users());
}, 120_000);

it.concurrent('Redis killed and started again from its file, after all leases are over: nobody is ever offline', async () => {
  const { world } = restarted;
  const leases = await world.redis.keys('gateway:*');
  expect(leases).toHaveLength(2 * PARTITIONS);
  // As long as it is away, or as if it were away for longer than a lease.
  if (AWAY_MS < 30_000) await Promise.all(leases.map((lease) => world.redis.pexpire(lease, 500)));
  const before = await restarted.verbs.presenceOf(restarted.users());
  await world.restartRedis(AWAY_MS);
  expect(await restarted.verbs.presenceOf(restarted.users())).toEqual(before);
  const backAt = Date.now();
  await Promise.all([restarted.renewedSince(backAt, 0), restarted.renewedSince(backAt, 1)]);
  expect(await world.redis.exists(...leases)).toBe(2 * PARTITIONS);

  // The reaper is frozen, longer than its own leases last, and another has taken over before it wakes.
  const [gone = '', ...others] = restarted.users();
  await restarted.reaper.kill('SIGSTOP');
  restarted.sessions.get(gone)?.socket.close();
  const left = Date.now();
  const other = await world.deployment.start('presence');
  const partitions = async () => {
    const holders = await world.redis.mget(...ALL.map((p) => keys.lease(p, 'presence')));
    return holders.filter((holder) => holder?.includes(`-${other.pid}-`)).length;
  };
  await until('another has all partitions', CONVERGED_MS, partitions, (count) => count === PARTITIONS);
  await restarted.allAre('offline', [gone]);
  await restarted.reaper.kill('SIGCONT');
  await Promise.all([restarted.renewedSince(Date.now(), 0), restarted.renewedSince(Date.now(), 1)]);
  expect(restarted.histories([gone])).toEqual(['online offline']);
  const [{ since } = { since: null }] = await restarted.verbs.presenceOf([gone]);
  expect(since).toBeGreaterThan(left - 1000);
  expect(since).toBeLessThan(left + 5000);
  expect(await restarted.verbs.presenceOf(others)).toEqual(before.slice(1));
  expect(restarted.histories(others)).toEqual(['online']);
  expect(restarted.connected()).toEqual(others);
}, 150_000);

it.concurrent('whoever says nothing for 75 s is closed 4008, and offline', async () => {
  const [, gateway] = killed.gateways;
  const mute = await RawSession.start(killed.world.deployment, gateway as MillraceProcess, 'mute');
  const since = performance.now();
  expect((await mute.ended).code).toBe(4008);
  const silentMs = performance.now() - since;
  expect(silentMs).toBeGreaterThan(74_000);
  expect(silentMs).toBeLessThan(80_000);
  await killed.allAre('offline', ['mute'], 15_000);
}, 110_000);
