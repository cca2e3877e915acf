/** Who is primary of what at the moment, on Sentinel and on a cluster: a failover changes it. */

import keySlot from 'cluster-key-slot';
import type { Redis } from 'ioredis';
import { tagOf } from '../../../lib/partitions/slices.ts';
import type { RedisServer } from '../../../ops/redis/server.ts';
import { until } from '../../../ops/until.ts';
import type { Random } from '../random.ts';
import { PARTITIONS } from '../run/arena.ts';
import { on, type Store } from '../run/store.ts';

/** A primary and those that follow it. */
export interface Shard {
  primary: RedisServer;
  replicas: RedisServer[];
}

export const PROMOTION_MS = 60_000;
const ALL = Array.from({ length: PARTITIONS }, (_, p) => p);

type Role = { primary: true; online: number } | { primary: false; port: number; connected: boolean };

async function roleOf(server: RedisServer): Promise<Role | undefined> {
  const reply = (await on(server, (redis) => redis.role()).catch(() => undefined)) as unknown[] | undefined;
  if (reply?.[0] === 'master') return { primary: true, online: (reply[2] as unknown[]).length };
  if (reply?.[0] === 'slave') return { primary: false, port: Number(reply[2]), connected: reply[3] === 'connected' };
  return undefined;
}

export async function isPrimary(server: RedisServer): Promise<boolean> {
  return (await roleOf(server))?.primary === true;
}

export async function hasReplica(server: RedisServer): Promise<boolean> {
  const role = await roleOf(server);
  return role?.primary === true && role.online > 0;
}

export async function shardsOf(store: Store): Promise<Shard[]> {
  const roles = await Promise.all(store.servers.map(async (server) => ({ server, role: await roleOf(server) })));
  return roles
    .filter(({ role }) => role?.primary)
    .map(({ server: primary }) => ({
      primary,
      replicas: roles
        .filter(({ role }) => role?.primary === false && role.port === primary.port)
        .map(({ server }) => server),
    }));
}

/** Of a node of a cluster. */
export async function partitionsOf(primary: RedisServer): Promise<number[]> {
  const slots = (await on(primary, (redis) => redis.call('CLUSTER', 'SLOTS'))) as [number, number, [string, number]][];
  const theirs = slots.filter(([, , [, port]]) => port === primary.port);
  return ALL.filter((p) => {
    const slot = keySlot(tagOf(p, PARTITIONS));
    return theirs.some(([first, last]) => first <= slot && slot <= last);
  });
}

/** Which processes are primaries, and which of them has each partition; nobody where that cannot be told. */
export interface Holders {
  living: ReadonlySet<string>;
  of: ReadonlyMap<number, string>;
}

export async function holdersIn(store: Store): Promise<Holders> {
  const living = new Set<string>();
  const of = new Map<number, string>();
  const look = async ({ primary }: Shard) => {
    const info = await on(primary, (redis) => redis.info('server'));
    const name = `${primary.port} ${/run_id:(\w+)/.exec(info)?.[1]}`;
    living.add(name);
    for (const p of store.cluster ? await partitionsOf(primary) : ALL) of.set(p, name);
  };
  // Who does not answer is not told of.
  await Promise.allSettled((await shardsOf(store)).map(look));
  return { living, of };
}

/**
 * The partitions that may have gone back in time: who had them is no primary any more, and its heir goes on from what it
 * had, or was started again, and goes on from its file. A slot that moved from one to the other does not; nor does a
 * standalone server, which syncs each write.
 */
export function rewound(before: Holders, after: Holders, { topology }: Pick<Store, 'topology'>): number[] {
  if (topology === 'standalone') return [];
  return ALL.filter((p) => {
    const had = before.of.get(p);
    return had === undefined || !after.of.has(p) || !after.living.has(had);
  });
}

/** When all servers say what they are: on a busy machine one may not answer at once, and a shard would seem smaller, or not there. */
export async function wholeShards(store: Store): Promise<Shard[]> {
  const isWhole = (shards: readonly Shard[]) =>
    shards.reduce((servers, { replicas }) => servers + 1 + replicas.length, 0) === store.servers.length;
  return until('every server is primary or follows one', PROMOTION_MS, () => shardsOf(store), isWhole);
}

export async function pickShard(store: Store, random: Random): Promise<Shard> {
  return random.pick(await wholeShards(store));
}

/** The one of them that took over. */
export async function promoted(candidates: readonly RedisServer[]): Promise<RedisServer> {
  const look = async () => {
    const are = await Promise.all(candidates.map(isPrimary));
    return candidates.find((_, i) => are[i]);
  };
  return (await until('a replica is promoted', PROMOTION_MS, look))!;
}

/** As many primaries as at the start, each with all its replicas in step with it. */
export async function settled(store: Store): Promise<void> {
  const primaries = store.cluster ? store.cluster.nodes.filter(({ role }) => role === 'primary').length : 1;
  const followers = store.servers.length - primaries;
  const look = async () => {
    const roles = await Promise.all(store.servers.map(roleOf));
    const count = roles.filter((role) => role?.primary === true && role.online > 0).length;
    const following = roles.filter((role) => role?.primary === false && role.connected).length;
    const whole = await Promise.all(store.cluster ? store.servers.map(coversAll) : []);
    return {
      count,
      following,
      whole: whole.every(Boolean),
      servers: store.servers.map(({ port }, i) => [port, roles[i]]),
    };
  };
  await until('every primary has its replicas', PROMOTION_MS, look, ({ count, following, whole }) => {
    return count === primaries && following === followers && whole;
  });
}

function coversAll(server: RedisServer): Promise<boolean> {
  const ok = async (redis: Redis) => String(await redis.cluster('INFO')).includes('cluster_state:ok');
  return on(server, ok).catch(() => false);
}
