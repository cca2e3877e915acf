/** Figures to tables. */
import Table from 'cli-table3';
import { HOPS } from './hops.ts';
import type { Quantiles } from './orders.ts';
import type { Measured } from './setting.ts';

/** A figure of a scenario, with what it should be. */
export interface Fact {
  scenario: string;
  what: string;
  value: number;
  unit: string;
  /** At most, or at least. */
  goal?: { atMost: number } | { atLeast: number };
}

export interface Row {
  scenario: string;
  measured: Measured;
}

export interface Costs {
  gateways: number;
  workers: number;
  redis: number;
  servers: number;
  generator: number;
}

/** CPU-microseconds per delivered message. */
export function costsOf({ result, cost }: Measured): Costs {
  // Two rates: the snapshots are taken some milliseconds after the window's ends.
  const perSecond = Math.max(1, result.window.received) / result.window.seconds;
  return costsPer(cost.seconds * perSecond, cost.cpu);
}

/** `cpu`: microseconds by process. */
export function costsPer(messages: number, cpu: Readonly<Record<string, number>>): Costs {
  const per = (matches: (name: string) => boolean) =>
    Object.entries(cpu).reduce((sum, [name, micros]) => sum + (matches(name) ? micros : 0), 0) / messages;
  const gateways = per((name) => name.startsWith('gateway'));
  const workers = per((name) => name === 'workers');
  const redis = per((name) => name.startsWith('redis'));
  return { gateways, workers, redis, servers: gateways + workers + redis, generator: per((n) => n === 'generator') };
}

export function loadTable(rows: readonly Row[]): string {
  const table = new Table({
    head: [
      'scenario',
      'delivered/s',
      'µs/message: all',
      'gateways',
      'workers',
      'redis',
      'generator',
      'accepted p50/p99/p99.9 ms',
      'received p50/p99/p99.9 ms',
      'lost',
      'twice',
      'others',
    ],
    style: { head: [], border: [] },
  });
  for (const { scenario, measured } of rows) {
    const { result, cost } = measured;
    const costs = costsOf(measured);
    const { lost, duplicates, unanswered } = result.verdict;
    table.push([
      scenario,
      Math.round(result.window.received / result.window.seconds),
      whole(costs.servers),
      whole(costs.gateways),
      whole(costs.workers),
      whole(costs.redis),
      whole(costs.generator),
      latency(result.accepted),
      latency(result.received),
      unanswered > 0 ? `${lost} (+${unanswered} unanswered)` : lost,
      duplicates,
      `${whole(cost.others * 100)} %${cost.stolen > 0.01 ? ` (+${whole(cost.stolen * 100)} % stolen)` : ''}`,
    ]);
  }
  return table.toString();
}

/** Per delivered message. What runs inside a script is counted under its own name too, and in evalsha. */
export function redisTable(rows: readonly Row[]): string {
  const table = new Table({
    head: ['scenario', 'Redis µs (calls) per message, by command', 'calls per message, by script'],
    style: { head: [], border: [] },
    colWidths: [20, 90, 60],
    wordWrap: true,
  });
  for (const { scenario, measured } of rows) {
    const { counts, result } = measured;
    const delivered = Math.max(1, result.window.received);
    const commands = Object.entries(counts.commands)
      .sort(([, a], [, b]) => b.micros - a.micros)
      .slice(0, 14)
      .map(([name, c]) => `${name} ${(c.micros / delivered).toFixed(1)} (${(c.calls / delivered).toFixed(2)})`);
    const calls = Object.entries(counts.metrics)
      .filter(([name]) => !name.includes('_sum'))
      .map(([name, value]) => [shortName(name), value / delivered] as const)
      .filter(([, value]) => value >= 0.005)
      .map(([name, value]) => `${name} ${value.toFixed(2)}`);
    table.push([scenario, commands.join(', '), calls.join(', ')]);
  }
  return table.toString();
}

/** Where a message's time goes. Quantiles of hops do not add up; the means of the slowest hundredth do. */
export function hopsTable(rows: readonly Row[]): string {
  const head = ['scenario', 'ms', ...HOPS.map((hop) => HOP_MEANS[hop]), 'received'];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const { scenario, measured } of rows) {
    const { hops, received } = measured.result;
    if (!hops) continue;
    for (const p of ['p50', 'p99'] as const) {
      table.push([scenario, p, ...HOPS.map((hop) => hops.all[hop][p].toFixed(1)), received[p].toFixed(1)]);
    }
    const sum = HOPS.reduce((all, hop) => all + hops.slowest[hop], 0);
    const slowest = HOPS.map((hop) => hops.slowest[hop].toFixed(1));
    table.push([scenario, 'mean of the slowest 1 %', ...slowest, sum.toFixed(1)]);
  }
  return table.toString();
}

const HOP_MEANS = {
  generator: 'due → sent',
  append: 'sent → in the log',
  deliver: 'in the log → in the inbox',
  show: 'in the inbox → received',
};

function shortName(name: string): string {
  const label = /\{(?:\w+)="([^"]*)"/.exec(name)?.[1];
  const base = name
    .replace(/\{.*/, '')
    .replace(/^millrace_/, '')
    .replace(/_total$|_seconds_count$|_count$/, '');
  if (base === 'redis_roundtrip') return label ?? base;
  return label ? `${base} ${label}` : base;
}

export function factTable(facts: readonly Fact[]): string {
  const table = new Table({ head: ['scenario', 'what', 'figure', 'goal', ''], style: { head: [], border: [] } });
  for (const { scenario, what, value, unit, goal } of facts) {
    const shown = `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${unit}`;
    const wanted = !goal ? '' : 'atMost' in goal ? `≤ ${goal.atMost}` : `≥ ${goal.atLeast}`;
    table.push([scenario, what, shown, wanted, goal ? (reached(value, goal) ? 'yes' : 'NO') : '']);
  }
  return table.toString();
}

export function reached(value: number, goal: NonNullable<Fact['goal']>): boolean {
  return 'atMost' in goal ? value <= goal.atMost : value >= goal.atLeast;
}

function latency({ p50, p99, p999 }: Quantiles): string {
  return [p50, p99, p999].map((ms) => (ms >= 100 ? Math.round(ms) : ms.toFixed(1))).join(' / ');
}

function whole(value: number): string {
  return String(Math.round(value));
}
