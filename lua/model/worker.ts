/**
 * A fan-out worker: per source and target a place from which it goes on, at most one batch under way, and the members that
 * it has seen. Any number of them may be at work: a lease saves work, and decides nothing.
 */
import type { Batch } from './scripts.ts';
import {
  ALICE,
  BOB,
  CAROL,
  DIRECT,
  type Entry,
  GROUP,
  HOME_OF_USER,
  type Interval,
  NEVER,
  PARTITIONS,
} from './state.ts';
import type { Store } from './store.ts';

/** `never`: the call did not arrive · `unanswered`: it did, the answer did not · `part`: only its first entry went out. */
export const OUTCOMES = ['ok', 'never', 'unanswered', 'part'] as const;
export type Outcome = (typeof OUTCOMES)[number];

const PAIRS = PARTITIONS * PARTITIONS;

interface Pair {
  readonly source: number;
  readonly target: number;
  /** What the target's cursor is known to be. */
  after: number;
  /** It goes back to what the log has, and looks whether that is enough. */
  catchingUp: boolean;
  flight: Flight | undefined;
}

/** What was read, and goes out in as many calls as it takes. */
interface Flight {
  after: number;
  last: number;
  floor: boolean;
  entries: Entry[];
  /** Whom it is for is looked up after it was read, so the members may be newer, or another primary's. */
  deliveries?: Batch['deliveries'];
}

export class Worker {
  readonly #store: Store;
  readonly #replicas: boolean;
  readonly #pairs: Pair[] = [];
  #members: { version: number; intervals: (readonly Interval[])[] } | undefined;

  /** Takes over from the targets' own cursors. */
  constructor(store: Store, replicas: boolean) {
    this.#store = store;
    this.#replicas = replicas;
    for (let source = 0; source < PARTITIONS; source++) {
      for (let target = 0; target < PARTITIONS; target++) {
        const after = store.breaks('start-at-end')
          ? store.nodes[source]!.logLast
          : store.nodes[target]!.cursors[source]!;
        this.#pairs.push({
          source,
          target,
          after,
          catchingUp: after < store.nodes[source]!.logTrimmed,
          flight: undefined,
        });
      }
    }
  }

  /** Reads up to `count` entries for a target, the `nth` or one after it, if there are any. */
  read(nth: number, count: number): boolean {
    for (let i = 0; i < PAIRS; i++) if (this.#readFor(this.#pairs[(nth + i) % PAIRS]!, count)) return true;
    return false;
  }

  #readFor(pair: Pair, count: number): boolean {
    if (pair.flight) return false;
    const { source } = pair;
    if (this.#replicas && !this.#store.breaks('read-unreplicated')) this.#store.replicate(source);
    const { log, logStart, logTrimmed } = this.#store.nodes[source]!;
    // Another worker had trimmed what comes next.
    const hole = pair.after < logTrimmed && log.some(({ id }) => id > pair.after && id >= logStart);
    if (hole && !this.#store.breaks('hole-unnoticed')) pair.catchingUp = true;
    const floor = pair.catchingUp && logTrimmed !== NEVER && pair.after < logTrimmed;
    const start = floor ? logTrimmed : pair.after;
    const entries: Entry[] = [];
    let last = start;
    let left = count;
    for (const entry of log) {
      if (entry.id <= pair.after || entry.id < logStart) continue;
      if (left-- === 0) break;
      entries.push(entry);
      last = Math.max(last, entry.id);
    }
    if (left === count && !floor) {
      pair.catchingUp = false;
      return false;
    }
    pair.flight = { after: start, last, floor, entries };
    return true;
  }

  #recipients({ channel, seq, kind, mv }: Entry): number[] {
    if (channel === DIRECT) return [ALICE, BOB];
    if (kind === 'created') return [ALICE, BOB];
    if (!this.#members || (this.#members.version < mv && !this.#store.breaks('members-cached'))) {
      const { membersVersion, members } = this.#store.nodeOfChannel(GROUP).channels[GROUP]!;
      this.#members = { version: membersVersion, intervals: members.slice() };
    }
    const { intervals } = this.#members;
    const at = this.#store.breaks('members-now') ? this.#store.nodeOfChannel(GROUP).channels[GROUP]!.seq : seq;
    return [ALICE, BOB, CAROL].filter((u) => intervals[u]!.some((i) => i.joined <= at && at <= i.left));
  }

  /** Another primary: what the last one said of the members may be of a tail that was lost. */
  reconnect(): void {
    if (!this.#store.breaks('members-kept')) this.#members = undefined;
  }

  /** Sends a batch that is under way, the `nth` or one after it. */
  send(nth: number, outcome: Outcome): boolean {
    for (let i = 0; i < PAIRS; i++) {
      const pair = this.#pairs[(nth + i) % PAIRS]!;
      if (!pair.flight) continue;
      if (outcome !== 'never') this.#sendFor(pair, pair.flight, outcome);
      return true;
    }
    return false;
  }

  #sendFor(pair: Pair, flight: Flight, outcome: Outcome): void {
    const { source, target } = pair;
    flight.deliveries ??= flight.entries.flatMap((entry) => {
      const recipients = this.#recipients(entry).filter((u) => HOME_OF_USER[u] === target);
      return recipients.length > 0 ? [{ entry, recipients }] : [];
    });
    const { after, last, floor, deliveries } = flight;
    const [first, ...rest] = deliveries;
    const part = outcome === 'part' && first !== undefined && rest.length > 0;
    const batch = part
      ? { source, target, after, last: first.entry.id, floor, deliveries: [first] }
      : { source, target, after, last, floor, deliveries };
    const reply = this.#store.deliver(batch);
    if (outcome === 'unanswered') return;
    if (reply.status === 'behind') {
      if (this.#store.breaks('behind-resent')) {
        pair.flight = { ...flight, after: reply.cursor };
        return;
      }
      pair.after = reply.cursor;
      pair.catchingUp = true;
      pair.flight = undefined;
      return;
    }
    if (this.#store.breaks('cursor-apart')) {
      const { cursors } = this.#store.nodes[target]!;
      cursors[source] = Math.max(cursors[source]!, reply.cursor);
    }
    pair.after = Math.max(pair.after, reply.cursor);
    pair.flight = part ? { ...flight, after: pair.after, floor: false, deliveries: rest } : undefined;
  }

  /** Reads the targets' cursors: notices one that was put back. */
  check(): void {
    for (const pair of this.#pairs) {
      const cursor = this.#store.nodes[pair.target]!.cursors[pair.source]!;
      if (pair.flight || pair.catchingUp || cursor >= pair.after) continue;
      pair.after = cursor;
      pair.catchingUp = true;
    }
  }

  /** Up to here everything is delivered. */
  position(source: number): number {
    return Math.min(...this.#pairs.filter((p) => p.source === source).map((p) => p.after));
  }
}
