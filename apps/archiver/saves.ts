/**
 * Tells the archive what is no event of a channel: blocks, push tokens, what members have read. Whatever changes any of it
 * notes so in `unsaved:{p}`, in the same step; here it is looked at as it is by then, archived, and struck off if it is still
 * so. A kill in between repeats. Two workers that do the same at once differ in the time at which they looked, which is the
 * time that they write with: the later wins (design, rule 11).
 */
import type { Archive } from '../../lib/archive/index.ts';
import { factOf, type SaveVerbs } from '../../lib/redis/save-verbs.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';

/** Some 2 µs of Redis each. */
const AT_ONCE = 250;

export interface SaveParts {
  verbs: SaveVerbs;
  archive: Archive;
  metrics: Metrics;
  /** The partitions that are this worker's. */
  held: ReadonlySet<number>;
}

export class Saves {
  readonly #o: SaveParts;
  #stopped = false;

  constructor(parts: SaveParts) {
    this.#o = parts;
  }

  /** One look. Rejects when the archive does not answer: the next look does it again. */
  async look(): Promise<void> {
    for (const p of this.#o.held) await this.#save(p);
  }

  async #save(p: number): Promise<void> {
    const { verbs, archive, metrics } = this.#o;
    while (!this.#stopped) {
      const { at, unsaved } = await verbs.toSave(p, AT_ONCE);
      if (unsaved.length === 0) return;
      const facts = unsaved.map(factOf).filter((fact) => fact !== undefined);
      await archive.keep(facts, at);
      for (const { kind } of facts) metrics.saved.of(kind).inc();
      await verbs.saved(p, unsaved);
      if (unsaved.length < AT_ONCE) return;
    }
  }

  stop(): void {
    this.#stopped = true;
  }
}
