/** All faults, one family a file. A new one: add it to its family's list; a new family: add its list here. */
import type { ArchiveKind } from '../run/arena.ts';
import { canHave, type Topology } from '../run/store.ts';
import { archiveFaults } from './archive.ts';
import { clockFaults } from './clocks.ts';
import { failoverFaults } from './failover.ts';
import type { Fault } from './fault.ts';
import { fuzz } from './fuzz.ts';
import { lateClose } from './late-close.ts';
import { networkFaults } from './network.ts';
import { processFaults } from './processes.ts';
import { redisFaults } from './redis.ts';
import { resourceFaults } from './resources.ts';
import { twoVersions } from './versions.ts';

export type { Fault, Victim } from './fault.ts';

export const FAULTS: readonly Fault[] = [
  ...processFaults,
  ...redisFaults,
  ...failoverFaults,
  ...resourceFaults,
  ...clockFaults,
  ...archiveFaults,
  ...networkFaults,
  lateClose,
  twoVersions,
  fuzz,
];

export interface Where {
  topology: Topology;
  archive: ArchiveKind;
  /** Whether there are sources of an earlier version. */
  earlier: boolean;
}

export function canBeDone(fault: Fault, where: Where): boolean {
  const there =
    (fault.topologies?.includes(where.topology) ?? true) && (fault.archives?.includes(where.archive) ?? true);
  return there && (fault.needs ?? []).every((need) => canHave(need, where));
}
