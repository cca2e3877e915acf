/**
 * Instruments that cost a few nanoseconds to record. prom-client hashes the labels at each `inc`; here a caller binds a
 * child to its labels once (`family.of('fanout', '3')`) and then only adds to a number. They stand in prom-client's
 * registry beside its default metrics, which does the rendering.
 */
export type Kind = 'counter' | 'gauge' | 'histogram';

interface Sample {
  value: number;
  labels: Record<string, string | number>;
  metricName?: string;
}

/** What prom-client's registry asks of a metric. */
export interface RegistryMetric {
  name: string;
  help: string;
  type: Kind;
  get(): Promise<{ name: string; help: string; type: Kind; values: Sample[]; aggregator: string }>;
}

export class Counter {
  value = 0;
  inc(by = 1): void {
    this.value += by;
  }
}

export class Gauge {
  value = 0;
  set(value: number): void {
    this.value = value;
  }
  inc(by = 1): void {
    this.value += by;
  }
  dec(by = 1): void {
    this.value -= by;
  }
}

export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;
  count = 0;

  /** `bounds` ascending, in the metric's unit; what is above the last one is counted in +Inf. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let low = 0;
    let high = this.bounds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (this.bounds[middle] as number)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] as number) + 1;
    this.sum += value;
    this.count++;
  }
}

type Instrument = Counter | Gauge | Histogram;

/** One metric with its labels: a child for each combination, made when first asked for and kept. */
export class Family<I extends Instrument, L extends readonly string[]> {
  readonly labelNames: L;
  readonly #children = new Map<string, { values: readonly string[]; instrument: I }>();
  readonly #make: () => I;

  constructor(labelNames: L, make: () => I) {
    this.labelNames = labelNames;
    this.#make = make;
  }

  /** Bind once, outside the hot path. Label values come from closed sets (roles, partitions, codes), never from users. */
  of(...values: { [K in keyof L]: string }): I {
    const key = values.length === 1 ? (values[0] as string) : values.join('\n');
    let child = this.#children.get(key);
    if (!child) {
      child = { values, instrument: this.#make() };
      this.#children.set(key, child);
    }
    return child.instrument;
  }

  /** Forgets a child: a partition that is no longer this process's business must not report a lag for ever. */
  remove(...values: { [K in keyof L]: string }): void {
    this.#children.delete(values.join('\n'));
  }

  samples(name: string): Sample[] {
    return [...this.#children.values()].flatMap(({ values, instrument }) => {
      const labels = Object.fromEntries(this.labelNames.map((label, i) => [label, values[i] as string]));
      return samplesOf(name, instrument, labels);
    });
  }
}

export function samplesOf(name: string, instrument: Instrument, labels: Record<string, string>): Sample[] {
  if (!(instrument instanceof Histogram)) return [{ value: instrument.value, labels }];
  const samples: Sample[] = [];
  let below = 0;
  instrument.counts.forEach((count, i) => {
    below += count;
    samples.push({
      metricName: `${name}_bucket`,
      value: below,
      labels: { ...labels, le: instrument.bounds[i] ?? '+Inf' },
    });
  });
  samples.push({ metricName: `${name}_sum`, value: instrument.sum, labels });
  samples.push({ metricName: `${name}_count`, value: instrument.count, labels });
  return samples;
}
