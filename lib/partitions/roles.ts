/** Who works through a partition's log. It is trimmed only below the positions of all of them, minus a tail. */
import type { LogRole } from '../keyspace/index.ts';

export const LOG_ROLES: readonly LogRole[] = ['fanout', 'archiver'];

/** Kept behind every role's position: history walks it, and a target put back to an older state is filled from it. */
export const LOG_TAIL_MS = 10 * 60_000;
