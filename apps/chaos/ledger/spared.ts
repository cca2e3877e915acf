/** While some partitions are down, or somebody misbehaves: who writes and reads in none of them must not be served later than usual. */
import { partitionOf } from '../../../lib/partitions/slices.ts';
import type { Findings } from './findings.ts';

/** On a machine with few cores, what the outage itself costs may show this much. */
const SLACK_MS = 250;

export class Spared {
  readonly #partitions: number;
  /** undefined: nothing is. */
  #down: ReadonlySet<number> | undefined;
  #any = false;
  /** From write to showing, in ms: before the first fault, and during outages. */
  readonly #usual: number[] = [];
  readonly #spared: number[] = [];
  /** Numbers of writes that were made during an outage and have nothing to do with it. */
  readonly #writes = new Map<number, ReadonlySet<number>>();

  constructor(partitions: number) {
    this.#partitions = partitions;
  }

  outage(partitions: readonly number[] | null): void {
    this.#down = partitions ? new Set(partitions) : undefined;
    this.#any ||= partitions !== null;
  }

  wrote({ n, channel, user }: { n: number; channel: string; user: string }): void {
    if (this.#down && !this.#isIn(this.#down, channel) && !this.#isIn(this.#down, user)) {
      this.#writes.set(n, this.#down);
    }
  }

  /** `calm`: no fault has begun yet. */
  shown(n: number, user: string, calm: boolean, tookMs: number): void {
    if (calm) this.#usual.push(tookMs);
    const down = this.#writes.get(n);
    if (down && !this.#isIn(down, user)) this.#spared.push(tookMs);
  }

  #isIn(partitions: ReadonlySet<number>, id: string): boolean {
    return partitions.has(partitionOf(id, this.#partitions));
  }

  get told(): string | undefined {
    if (!this.#any) return undefined;
    const [usual, spared] = [p99(this.#usual), p99(this.#spared)];
    const longest = this.#spared.reduce((most, ms) => Math.max(most, ms), 0);
    return `${this.#spared.length} showings that had nothing to do with what was down: 99 % within ${spared} ms, as against ${usual} ms before; the longest ${longest} ms`;
  }

  judge(findings: Findings): void {
    if (!this.#any) return;
    const [usual, spared] = [p99(this.#usual), p99(this.#spared)];
    if (spared > 2 * usual + SLACK_MS) findings.add('noticed', this.told!);
  }
}

function p99(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0;
}
