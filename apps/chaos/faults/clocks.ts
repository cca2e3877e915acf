/** The clock of a Redis server, which timestamps, leases and stream ids come from. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from './fault.ts';

const WRONG_S = 10;

function clock(name: string, direction: 1 | -1, does: string): Fault {
  return {
    name,
    does,
    victims: ['clock'],
    calmS: 6,
    needs: ['clocks'],
    async strike(arena, random) {
      const { clocks, servers } = arena.store;
      const index = random.below(servers.length);
      const seconds = Math.round(direction * random.between(5, 120));
      clocks![index]!.set(seconds);
      await sleep(WRONG_S * 1000);
      clocks![index]!.set(0);
      return `the clock of ${servers[index]!.port} was ${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead'} for ${WRONG_S} s`;
    },
  };
}

export const clockFaults: readonly Fault[] = [
  clock('clock-ahead', 1, `the clock of a Redis server runs 5 to 120 s ahead for ${WRONG_S} s, and goes back`),
  clock('clock-behind', -1, `the clock of a Redis server goes back by 5 to 120 s for ${WRONG_S} s`),
];
