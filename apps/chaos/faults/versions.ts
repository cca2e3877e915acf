/** An update that goes on for a while, is taken back, and is made again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MillraceProcess } from '../../../ops/deployment.ts';
import { type Arena, ROLES, type Role, type Version } from '../run/arena.ts';
import type { Fault } from './fault.ts';

/** How long both versions have half of the work. */
const BESIDE_MS = 5_000;

type Fleet = Map<Role, MillraceProcess[]>;

/** One of each role by one of the other version, which is there first. */
async function replaceOne(arena: Arena, from: Fleet, to: Fleet, version: Version): Promise<void> {
  for (const role of ROLES) {
    const old = from.get(role)!.shift();
    if (!old) continue;
    to.set(role, [...(to.get(role) ?? []), await arena.add(role, version)]);
    await arena.takeThis(role, old).stop();
  }
}

export const twoVersions: Fault = {
  name: 'two-versions',
  does: 'half of all processes are replaced by an earlier version, then the rest, and then all of them by the present one again',
  victims: [...ROLES],
  needs: ['earlier'],
  calmS: 6,
  async strike(arena) {
    const present: Fleet = new Map(ROLES.map((role) => [role, [...arena.running(role)]]));
    const earlier: Fleet = new Map();
    const most = Math.max(...[...present.values()].map(({ length }) => length));
    for (const [from, to, version] of [
      [present, earlier, 'earlier'],
      [earlier, present, 'present'],
    ] as const) {
      for (let i = 0; i < most; i++) {
        await replaceOne(arena, from, to, version);
        await sleep(BESIDE_MS);
      }
    }
    return `${arena.earlier!.commit} beside the present version, alone, and beside it again`;
  },
};
