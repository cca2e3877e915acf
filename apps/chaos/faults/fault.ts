/** A fault is something that happens in operation, as a run does it and undoes it again. */
import type { Random } from '../random.ts';
import type { ArchiveKind, Arena } from '../run/arena.ts';
import type { Need, Topology } from '../run/store.ts';

/** What a fault takes hold of. */
export type Victim =
  | 'gateway'
  | 'fanout'
  | 'archiver'
  | 'presence'
  | 'pusher'
  | 'redis'
  | 'archive'
  | 'network'
  | 'clock';

export interface Fault {
  /** As `--faults` takes it, and as the table shows it. */
  readonly name: string;
  /** For `--help`. */
  readonly does: string;
  /** Where it can be done; without it, everywhere. */
  readonly topologies?: readonly Topology[];
  readonly archives?: readonly ArchiveKind[];
  /** Faults of a random mix never share a victim. */
  readonly victims: readonly Victim[];
  /** Only when it is asked for by its name: with it the verdict excuses what no other fault may do. */
  readonly byNameOnly?: true;
  /**
   * Injects the fault and heals it; resolves when it is healed, with a word on what exactly it did. A sleep in it is how long
   * something lasts, or how far apart strikes are; that something has come about is waited for (`until`).
   */
  strike(arena: Arena, random: Random): Promise<string>;
  /** How long after healing all is well again, at the latest: the next strike comes no sooner. */
  readonly calmS: number;
  /** What the processes need in their environment from the start, for this fault to be one that must not lose anything. */
  readonly env?: Readonly<Record<string, string>>;
  /** What store and archive have to stand on, for this fault to be one that can be made. */
  readonly needs?: readonly Need[];
}
