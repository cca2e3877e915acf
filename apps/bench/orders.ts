/** What the benchmark and its load generator, a process of its own, say to each other. */
import type { HopTimes } from './hops.ts';

export interface ClientSpec {
  user: string;
  token: string;
  /** Index into the gateways. */
  gateway: number;
}

/** What the servers speak. */
export type DialectName = 'millrace' | 'socket.io';

/** Half-open: from, to. */
export type Range = readonly [from: number, to: number];

export type Target =
  /** Each of `from` writes to one of four neighbours, who write back; with `to`, everyone there gets equally many, in turn. */
  | { kind: 'direct'; from: Range; to?: Range }
  /** A random member writes into a random one of the groups. */
  | { kind: 'groups'; groups: readonly { channel: string; members: Range }[] };

export interface Load {
  target: Target;
  /** Messages per second, arriving as a Poisson process whether or not earlier ones were answered. */
  rate: number;
  /** Before the window that is measured. */
  warmS: number;
  seconds: number;
  /** What to wait for after the last send. */
  settle: 'accepted' | 'received';
  /** At most this long. */
  settleS: number;
}

export type Order =
  | { order: 'gateways'; addresses: readonly string[]; dialect: DialectName; acks: boolean }
  | { order: 'connect'; clients: readonly ClientSpec[]; atOnce: number }
  | { order: 'load'; load: Load }
  | { order: 'leave'; clients: Range }
  | { order: 'return'; clients: Range; timeoutS: number }
  | { order: 'cpu' };

/** Milliseconds. */
export interface Quantiles {
  p50: number;
  p99: number;
  p999: number;
  max: number;
}

/** Of everything that was sent since the load began, also outside the window. */
export interface Verdict {
  sent: number;
  accepted: number;
  received: number;
  expected: number;
  /** Accepted, and not received by someone who should have. */
  lost: number;
  duplicates: number;
  /** Received by someone else, or of no known message. */
  stray: number;
  /** Neither accepted nor refused. */
  unanswered: number;
  errors: Record<string, number>;
  reconnects: number;
  /** Clients that were told, or could tell, that something is missing. */
  gaps: number;
}

export interface LoadResult {
  verdict: Verdict;
  window: { seconds: number; sent: number; received: number; cpuMicros: number };
  /** From the intended time of the send. */
  accepted: Quantiles;
  received: Quantiles;
  /** From the window's begin until the last message that took longer than a second was received; 0: none did. */
  lateForMs: number;
  /** How late the generator itself was with its sends: large means that it, and not the server, was the limit. */
  lateness: Quantiles;
  /** Of what was received, by the stamps of the store; none of a peer. */
  hops?: HopTimes;
}

export interface ReturnResult {
  /** From the first connect to the last client's welcome, and to the last client's last missed message. */
  upMs: number;
  completeMs: number;
  complete: boolean;
  verdict: Verdict;
}

export interface Answers {
  gateways: undefined;
  connect: { seconds: number };
  load: LoadResult;
  leave: undefined;
  return: ReturnResult;
  cpu: { micros: number };
}

export type Reply =
  | { id: number; answer: unknown }
  | { id: number; error: string }
  | { id: number; event: 'begin' | 'end' };
