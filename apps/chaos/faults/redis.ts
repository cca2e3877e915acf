/** Redis that stands still, or dies and comes back from its file. */
import { setTimeout as sleep } from 'node:timers/promises';
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

export const redisFaults: readonly Fault[] = [restart, freeze];
