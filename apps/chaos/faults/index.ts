/** All faults, one family a file. A new one: add it to its family's list; a new family: add its list here. */
import type { ArchiveKind } from '../run/arena.ts';
import type { Topology } from '../run/store.ts';
import type { Fault } from './fault.ts';
import { networkFaults } from './network.ts';
import { processFaults } from './processes.ts';
import { redisFaults } from './redis.ts';

export type { Fault, Victim } from './fault.ts';

export const FAULTS: readonly Fault[] = [...processFaults, ...redisFaults, ...networkFaults];

export function canBeDone(fault: Fault, where: { topology: Topology; archive: ArchiveKind }): boolean {
  return (fault.topologies?.includes(where.topology) ?? true) && (fault.archives?.includes(where.archive) ?? true);
}
