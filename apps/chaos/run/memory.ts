/**
 * How much memory each process and Redis have over a run without faults, and whether it stays where it is: what grows for
 * ever under a steady load ends a deployment that nobody restarts.
 */
import { residentBytes } from '../../../ops/resident.ts';
import type { Edit } from '../mutants/mutant.ts';
import { type Arena, ROLES } from './arena.ts';
import { on } from './store.ts';

export const SAMPLE_EVERY_MS = 10_000;
/** So much may a curve rise over the last half of the run. */
export const FLAT = 0.05;
const MIB = 2 ** 20;

/**
 * What Redis keeps for a time, it keeps for less: the log's tail of ten minutes for two, and the client ids of an hour
 * and a half for three minutes. All of it is there before the last half begins, also in a run that ends within the hour.
 */
export const KEPT_BRIEFLY: readonly Edit[] = [
  { file: 'lib/partitions/roles.ts', was: 'LOG_TAIL_MS = 10 * 60_000', becomes: 'LOG_TAIL_MS = 2 * 60_000' },
  { file: 'lib/keyspace/index.ts', was: 'DEDUPE_WINDOW_MS = 30 * 60_000', becomes: 'DEDUPE_WINDOW_MS = 60_000' },
  ...['append', 'change', 'rebuild'].map((script) => ({
    ...{ file: `lua/${script}.lua`, was: 'window_ms = ARGV[1], 1800000', becomes: 'window_ms = ARGV[1], 60000' },
  })),
];

export interface Curve {
  name: string;
  samples: { atS: number; bytes: number }[];
}

/** By what share of its mean a straight line through the last half of the samples rises there; less than 0: it falls. */
export function growthOf({ samples }: Curve): number {
  const from = ((samples[0]?.atS ?? 0) + (samples.at(-1)?.atS ?? 0)) / 2;
  const last = samples.filter(({ atS }) => atS >= from);
  const mean = (of: (sample: (typeof last)[number]) => number) => last.reduce((sum, s) => sum + of(s), 0) / last.length;
  const [middle, level] = [mean(({ atS }) => atS), mean(({ bytes }) => bytes)];
  const spread = mean(({ atS }) => (atS - middle) ** 2);
  if (!(spread > 0)) return 0;
  const slope = mean(({ atS, bytes }) => (atS - middle) * (bytes - level)) / spread;
  return (slope * (last.at(-1)!.atS - last[0]!.atS)) / level;
}

export class MemoryWatch {
  readonly curves: Curve[] = [];
  readonly #arena: Arena;
  readonly #started = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(arena: Arena) {
    this.#arena = arena;
    const tell = (error: Error) => arena.say(`memory could not be looked at: ${error.message}`);
    this.#timer = setInterval(() => void this.sample().catch(tell), SAMPLE_EVERY_MS);
  }

  async sample(): Promise<void> {
    const atS = Math.round((performance.now() - this.#started) / 1000);
    const note = (name: string, bytes: number) => {
      const curve = this.curves.find((known) => known.name === name) ?? { name, samples: [] };
      if (curve.samples.length === 0) this.curves.push(curve);
      curve.samples.push({ atS, bytes });
    };
    for (const role of ROLES) {
      for (const [i, { pid }] of this.#arena.running(role).entries()) note(`${role} ${i + 1}`, residentBytes(pid));
    }
    const { servers } = this.#arena.store;
    const infos = await Promise.all(servers.map((server) => on(server, (redis) => redis.info('memory'))));
    for (const [i, info] of infos.entries()) {
      const name = servers.length === 1 ? 'Redis' : `Redis ${i + 1}`;
      note(name, field(info, 'used_memory_rss'));
      note(`${name}, its data`, field(info, 'used_memory'));
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function field(info: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1]);
}

export interface MemoryRow {
  name: string;
  /** In MiB, at times that are spread evenly, the first and the last included. */
  mib: { atS: number; mib: number }[];
  highestMib: number;
  growth: number;
  flat: boolean;
}

export function memoryRows(curves: readonly Curve[], columns = 10): MemoryRow[] {
  return curves.map((curve) => {
    const { name, samples } = curve;
    const count = Math.min(columns, samples.length);
    const at = (i: number) => samples[count === 1 ? 0 : Math.round((i * (samples.length - 1)) / (count - 1))]!;
    const mib = Array.from({ length: count }, (_, i) => ({ atS: at(i).atS, mib: at(i).bytes / MIB }));
    const highestMib = samples.reduce((most, { bytes }) => Math.max(most, bytes), 0) / MIB;
    const growth = growthOf(curve);
    return { name, mib, highestMib, growth, flat: growth <= FLAT };
  });
}
