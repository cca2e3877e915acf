/** Processes that die, stand still, or are replaced. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ROLES, type Role } from '../run/arena.ts';
import type { Fault } from './fault.ts';

/** Beyond a worker's lease, and beyond what a gateway may go without a completed round. */
const FROZEN_S = 20;
/** A worker that woke up is stuck when it has not completed a round for 5 s. */
const WOKEN_S = 7;

function kill(role: Role, does: string): Fault {
  return {
    name: `${role}-kill`,
    does,
    victims: [role],
    calmS: 4,
    async strike(arena, random) {
      const victim = await arena.take(role, random);
      await victim.kill('SIGKILL');
      await arena.add(role);
      return `killed ${role} ${victim.pid}, and started another`;
    },
  };
}

function freeze(role: Role, does: string): Fault {
  return {
    name: `${role}-freeze`,
    does,
    victims: [role],
    calmS: 4,
    async strike(arena, random) {
      const victim = await arena.take(role, random);
      await victim.kill('SIGSTOP');
      await sleep(FROZEN_S * 1000);
      await victim.kill('SIGCONT');
      // A worker that lost its partitions in its sleep may end by itself, which is right: its supervisor starts another.
      const ended = await Promise.race([victim.exited.then(() => true), sleep(WOKEN_S * 1000, false)]);
      if (ended) await arena.add(role);
      else arena.giveBack(role, victim);
      return `stopped ${role} ${victim.pid} for ${FROZEN_S} s${ended ? '; it ended when it woke, and another was started' : ''}`;
    },
  };
}

const rollingDeploy: Fault = {
  name: 'rolling-deploy',
  does: 'every process is replaced, one after the other: a new one first, then SIGTERM for the old one',
  victims: [...ROLES],
  calmS: 4,
  async strike(arena, random) {
    let count = 0;
    for (const role of ROLES) {
      for (let left = arena.running(role).length; left > 0; left--) {
        const old = arena.running(role)[0]!;
        await arena.add(role);
        await arena.takeThis(role, old).stop();
        count++;
      }
      await sleep(random.between(0, 500));
    }
    return `replaced ${count} processes`;
  },
};

export const processFaults: readonly Fault[] = [
  kill('gateway', 'a gateway dies by SIGKILL, with all its connections'),
  freeze('gateway', `a gateway stands still for ${FROZEN_S} s and wakes up again`),
  kill('fanout', 'a fan-out worker dies by SIGKILL'),
  freeze(
    'fanout',
    `a fan-out worker stands still for ${FROZEN_S} s, past its lease, and wakes up with what it had read`,
  ),
  kill('archiver', 'an archiver dies by SIGKILL'),
  freeze('archiver', `an archiver stands still for ${FROZEN_S} s, past its lease, and wakes up with what it had read`),
  kill('presence', 'a presence worker dies by SIGKILL'),
  kill('pusher', 'a pusher dies by SIGKILL'),
  rollingDeploy,
];
