/** Redis that stands still, or dies and comes back from its file. */
import { setTimeout as sleep } from 'node:timers/promises';
import { on } from '../run/store.ts';
import type { Fault } from './fault.ts';

const restart: Fault = {
  name: 'redis-restart',
  does: 'Redis dies by SIGKILL and comes back from its append-only file',
  topologies: ['standalone'],
  victims: ['redis'],
  calmS: 6,
  async strike(arena, random) {
    await arena.store.servers[0]!.revive();
    await sleep(random.between(0, 500));
    return 'Redis was killed, and started again from its append-only file';
  },
};

const freeze: Fault = {
  name: 'redis-freeze',
  does: 'Redis stands still for 3 to 8 s: no connection breaks, nothing is answered',
  topologies: ['standalone'],
  victims: ['redis'],
  calmS: 8,
  async strike(arena, random) {
    const [server] = arena.store.servers;
    const seconds = random.between(3, 8);
    server!.kill('SIGSTOP');
    await sleep(seconds * 1000);
    server!.kill('SIGCONT');
    return `Redis stood still for ${seconds.toFixed(1)} s`;
  },
};

const flushed: Fault = {
  name: 'redis-flushed',
  does: 'Redis loses everything at once, under traffic, and is rebuilt from the archive: what was not archived yet is gone',
  topologies: ['standalone'],
  // The archiver is not struck at the same time: what it is behind with is lost.
  victims: ['redis', 'archiver', 'archive'],
  byNameOnly: true,
  // Registrations come back with the sweep of each gateway, which takes 30 s.
  calmS: 35,
  async strike(arena) {
    const [server] = arena.store.servers;
    await arena.lose(() => on(server!, (redis) => redis.flushall()));
    return 'Redis lost everything';
  },
};

export const redisFaults: readonly Fault[] = [restart, freeze, flushed];
