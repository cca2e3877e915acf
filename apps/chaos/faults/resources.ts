/** What runs out: Redis' memory, and the disk under its append-only file and under the archive. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RedisServer } from '../../../ops/redis/server.ts';
import type { Random } from '../random.ts';
import { on, type Store } from '../run/store.ts';
import type { Fault } from './fault.ts';
import { pickShard } from './nodes.ts';

const FULL_S = 10;

async function somePrimary(store: Store, random: Random): Promise<RedisServer> {
  return store.topology === 'standalone' ? store.servers[0]! : (await pickShard(store, random)).primary;
}

const redisFull: Fault = {
  name: 'redis-full',
  does: `Redis, or one of the primaries, is at its maxmemory for ${FULL_S} s: nothing can be written there`,
  victims: ['redis'],
  calmS: 5,
  async strike(arena, random) {
    const server = await somePrimary(arena.store, random);
    const used = await on(server, async (redis) => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))![1]));
    const refused = () =>
      on(server, async (redis) => Number(/errorstat_OOM:count=(\d+)/.exec(await redis.info('errorstats'))?.[1] ?? 0));
    const before = await refused();
    await on(server, (redis) => redis.config('SET', 'maxmemory', used + 100_000));
    await sleep(FULL_S * 1000);
    const count = (await refused()) - before;
    await on(server, (redis) => redis.config('SET', 'maxmemory', 0));
    return `${server.port} had ${used} bytes and no more: ${count} calls were refused`;
  },
};

const redisDiskFull: Fault = {
  name: 'redis-disk-full',
  does: `the disk under Redis' append-only file is full for ${FULL_S} s: nothing can be written, or Redis ends`,
  topologies: ['standalone'],
  victims: ['redis'],
  calmS: 6,
  needs: ['disks'],
  async strike(arena) {
    const { disk, servers } = arena.store;
    const [server] = servers as [RedisServer];
    disk!.fill();
    await sleep(FULL_S * 1000);
    disk!.free();
    const alive = await on(server, (redis) => redis.ping()).then(
      () => true,
      () => false,
    );
    // With `appendfsync always` a Redis that cannot write ends by itself; its supervisor starts it again.
    if (!alive) await server.revive();
    return `the disk of Redis had no room for ${FULL_S} s${alive ? '' : '; Redis ended over it, and was started again'}`;
  },
};

const archiveDiskFull: Fault = {
  name: 'archive-disk-full',
  does: `the disk under the archive is full for ${FULL_S} s`,
  archives: ['sqlite'],
  victims: ['archive'],
  calmS: 6,
  needs: ['disks'],
  async strike(arena) {
    arena.archiveDisk!.fill();
    await sleep(FULL_S * 1000);
    arena.archiveDisk!.free();
    return `the disk of the archive had no room for ${FULL_S} s`;
  },
};

export const resourceFaults: readonly Fault[] = [redisFull, redisDiskFull, archiveDiskFull];
