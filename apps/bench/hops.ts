/**
 * Where the way of a message goes, hop by hop, from what Redis itself notes: a message's `ts` is when it was appended to its
 * channel's log, and its offset begins with the millisecond in which it came into the inbox. It needs one clock, which the
 * processes of one machine share, and is good to a millisecond.
 */
import hdr from 'hdr-histogram-js';

/** Each from the one before; `append` from when the send left. */
export const HOPS = ['generator', 'append', 'deliver', 'show'] as const;
export type Hop = (typeof HOPS)[number];

/** Milliseconds. */
export interface HopTimes {
  all: Record<Hop, { p50: number; p99: number }>;
  /** Means, of the hundredth of all messages that took longest. */
  slowest: Record<Hop, number>;
}

/** One message; wall-clock milliseconds, `due` the moment it was meant to leave. */
export interface Way {
  due: number;
  left: number;
  appended: number;
  delivered: number;
  shown: number;
}

export class Hops {
  /** Total, then the hops, of one message after the other. */
  readonly #ways: number[] = [];

  add({ due, left, appended, delivered, shown }: Way): void {
    // Redis' clock is cut to milliseconds: half of one later is what it was, on average.
    this.#ways.push(shown - due, left - due, appended + 0.5 - left, delivered - appended, shown - delivered - 0.5);
  }

  /** Undefined where nothing was added. */
  times(): HopTimes | undefined {
    const width = HOPS.length + 1;
    const ways = Array.from({ length: this.#ways.length / width }, (_, i) =>
      this.#ways.slice(i * width, (i + 1) * width),
    );
    if (ways.length === 0) return undefined;
    const slowest = ways.sort(([a = 0], [b = 0]) => b - a).slice(0, Math.ceil(ways.length / 100));
    const each = <T>(of: (times: readonly number[], among: readonly number[]) => T) =>
      Object.fromEntries(
        HOPS.map((hop, i) => [
          hop,
          of(
            ways.map((way) => way[i + 1] ?? 0),
            slowest.map((way) => way[i + 1] ?? 0),
          ),
        ]),
      ) as Record<Hop, T>;
    return { all: each(quantiles), slowest: each((_, among) => mean(among)) };
  }
}

function quantiles(times: readonly number[]): { p50: number; p99: number } {
  const h = hdr.build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 120_000_000,
    numberOfSignificantValueDigits: 3,
  });
  for (const ms of times) h.recordValue(Math.max(0, Math.round(ms * 1000)));
  return { p50: h.getValueAtPercentile(50) / 1000, p99: h.getValueAtPercentile(99) / 1000 };
}

function mean(times: readonly number[]): number {
  return times.reduce((sum, ms) => sum + ms, 0) / times.length;
}
