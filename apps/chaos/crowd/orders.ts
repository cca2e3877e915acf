/** What a run and its crowd, a process of its own, say to each other. */
import type { Head } from '../ledger/losses.ts';

export interface CrowdPlan {
  seed: number;
  /** Of the gateways, through whatever stands in between. Devices are spread over them. */
  urls: readonly string[];
  /** The last of `urls` is for this part of the devices only: those with a slow line. */
  slowShare: number;
  people: readonly { user: string; token: string }[];
  /** The ledger. */
  file: string;
}

export type Order =
  | { order: 'gather'; plan: CrowdPlan }
  /** Writes of all kinds, so many a second, until told to stop. */
  | { order: 'go'; perSecond: number }
  | { order: 'phase'; name: string }
  /** Whoever has nothing to do with these partitions must not notice anything, until told null. */
  | { order: 'outage'; partitions: readonly number[] | null }
  /** Redis is about to lose everything: whose history does the archive have how far? And it has lost it. */
  | { order: 'channels' }
  | { order: 'losing'; heads: readonly Head[] }
  | { order: 'lost' }
  /** A push was sent, so many milliseconds ago. */
  | { order: 'pushed'; user: string; id: string; count: number; agoMs: number }
  /** Within the last so many milliseconds these partitions went back in time. */
  | { order: 'rewound'; partitions: readonly number[]; withinMs: number }
  | { order: 'state' }
  /** Which devices are connected at the moment? */
  | { order: 'connected' }
  /** No more writes; everyone comes back; resolves when all is accepted and shown, or when nothing came for so long. */
  | { order: 'settle'; withinMs: number }
  /** Each member writes once into each channel, and reads on: what watermarks and counts are compared after. */
  | { order: 'lastWords'; withinMs: number }
  /** Everyone leaves, and the ledger is closed. */
  | { order: 'leave' };

export interface CrowdState {
  /** Messages, edits and deletes. */
  written: number;
  accepted: number;
  refused: number;
  shown: number;
  /** Devices that are away on purpose, and those that want a connection and have none. */
  away: number;
  cut: number;
  gaps: number;
}

export interface ConnectedDevice {
  user: string;
  name: string;
}

export interface Answers {
  gather: undefined;
  go: undefined;
  phase: undefined;
  outage: undefined;
  channels: string[];
  losing: undefined;
  lost: undefined;
  pushed: undefined;
  rewound: undefined;
  state: CrowdState;
  connected: ConnectedDevice[];
  /** What was still missing at the end of the patience; empty when all is well. */
  settle: string[];
  lastWords: undefined;
  leave: undefined;
}

export type Reply = { id: number; answer: unknown } | { id: number; error: string };
