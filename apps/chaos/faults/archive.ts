/** Cassandra that is away. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from './fault.ts';

const cassandraDown: Fault = {
  name: 'cassandra-down',
  does: 'all of Cassandra is away for 20 to 40 s: it stands still, or is killed and comes back from its files',
  archives: ['cassandra'],
  victims: ['archive'],
  calmS: 15,
  async strike(arena, random) {
    const seconds = random.between(20, 40);
    const frozen = random.chance(0.5);
    arena.cassandra!.kill(frozen ? 'SIGSTOP' : 'SIGKILL');
    await sleep(seconds * 1000);
    if (frozen) arena.cassandra!.kill('SIGCONT');
    else await arena.reviveCassandra();
    return `Cassandra ${frozen ? 'stood still' : 'was dead'} for ${seconds.toFixed(0)} s`;
  },
};

export const archiveFaults: readonly Fault[] = [cassandraDown];
