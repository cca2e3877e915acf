/** What Redis and the processes count themselves, before and after: CPU by Redis command, calls by script. */
import type { Redis } from 'ioredis';

export interface Probe {
  commands: Record<string, { calls: number; micros: number }>;
  /** Sums over all processes, by name and labels. */
  metrics: Record<string, number>;
}

export type Counts = Probe;

const WANTED =
  /^(millrace_(?:redis_roundtrip_seconds_(?:count|sum)|bell_rings_total|inbox_reads_total|inbox_finds_total|deliver_batch_entries_(?:count|sum)|archive_batch_rows_(?:count|sum)|inbox_writes_total|messages_\w+_total|retries_total|gaps_total)(?:\{[^}]*\})?) (\S+)$/gm;

export async function probe(primaries: readonly Redis[], addresses: readonly string[]): Promise<Probe> {
  const commands: Probe['commands'] = {};
  const stats = await Promise.all(primaries.map((redis) => redis.info('commandstats')));
  for (const line of stats.join('\r\n').split('\r\n')) {
    const found = /^cmdstat_([^:]+):calls=(\d+),usec=(\d+)/.exec(line);
    if (!found?.[1]) continue;
    const { calls, micros } = commands[found[1]] ?? { calls: 0, micros: 0 };
    commands[found[1]] = { calls: calls + Number(found[2]), micros: micros + Number(found[3]) };
  }
  const metrics: Probe['metrics'] = {};
  const texts = await Promise.all(
    addresses.map((address) =>
      fetch(`${address}/metrics`).then(
        (response) => response.text(),
        () => '', // a process that the scenario killed counts nothing any more
      ),
    ),
  );
  for (const text of texts) {
    for (const [, name = '', value] of text.matchAll(WANTED)) metrics[name] = (metrics[name] ?? 0) + Number(value);
  }
  return { commands, metrics };
}

export function countsBetween(before: Probe, after: Probe): Counts {
  const commands: Counts['commands'] = {};
  for (const [name, { calls, micros }] of Object.entries(after.commands)) {
    const was = before.commands[name] ?? { calls: 0, micros: 0 };
    if (calls > was.calls) commands[name] = { calls: calls - was.calls, micros: micros - was.micros };
  }
  const metrics: Counts['metrics'] = {};
  for (const [name, value] of Object.entries(after.metrics)) {
    const more = value - (before.metrics[name] ?? 0);
    if (more > 0) metrics[name] = more;
  }
  return { commands, metrics };
}
