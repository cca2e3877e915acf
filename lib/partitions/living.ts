/**
 * Who shares the partitions of a role: the workers whose sign of life moves.
 *
 * A worker that was killed stays in the hash for as long as its leases may last; were it counted for so long, the living
 * would leave its share alone, and where one dies after the other, that of each in turn. So who stood still for two
 * renewals is gone, by our own eyes alone: over looks that were all answered, at most a renewal apart. A store that was
 * away has seen no signs, and says nothing about those who gave them.
 */
const GONE_AFTER_RENEWALS = 2;

export class Living {
  readonly #renewMs: number;
  /** Each worker's last sign, and when it was first seen. */
  #seen = new Map<string, { sign: string; since: number }>();
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(renewMs: number) {
    this.#renewMs = renewMs;
  }

  /** `reply` of lease_join, which came at `now`: ids of those who live, sorted. */
  of(reply: readonly string[], now: number): string[] {
    const unbroken = now - this.#lookedAt <= this.#renewMs;
    this.#lookedAt = now;
    const before = unbroken ? this.#seen : new Map();
    this.#seen = new Map();
    const living: string[] = [];
    for (let i = 0; i + 1 < reply.length; i += 2) {
      const [worker, sign] = [reply[i]!, reply[i + 1]!];
      const known = before.get(worker);
      const seen = known?.sign === sign ? known : { sign, since: now };
      this.#seen.set(worker, seen);
      if (now - seen.since < GONE_AFTER_RENEWALS * this.#renewMs) living.push(worker);
    }
    return living.sort();
  }

  /** A look was not answered. */
  broken(): void {
    this.#lookedAt = Number.NEGATIVE_INFINITY;
  }
}
