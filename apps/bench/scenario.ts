/** What every scenario of the benchmark has: what it is told and answers, and a setting of its own. */
import type { Load, Range } from './orders.ts';
import type { Fact, Row } from './report.ts';
import { type Measured, Setting, type SettingOptions } from './setting.ts';

export interface Run {
  scenario: string;
  /** Of the measured window. */
  seconds: number;
  profiles?: string;
  patienceS: number;
  say(line: string): void;
}

export interface Outcome {
  rows: Row[];
  facts: Fact[];
  /** Process ids by name, to find their profiles. */
  pids: Record<string, number>;
}

export interface Scenario {
  name: string;
  does: string;
  run(run: Run): Promise<Outcome>;
}

export const WARM_S = 5;

export async function withSetting<T>(
  run: Run,
  options: SettingOptions,
  work: (setting: Setting) => Promise<T>,
): Promise<T> {
  const profiles = run.profiles ? { profiles: run.profiles } : {};
  const setting = await Setting.start({ ...options, ...profiles, patienceS: run.patienceS });
  try {
    return await work(setting);
  } finally {
    for (const death of setting.deaths) run.say(death);
    await setting.stop();
  }
}

export function direct(from: Range, rate: number, seconds: number, more: Partial<Load> = {}): Load {
  return { target: { kind: 'direct', from }, rate, warmS: WARM_S, seconds, settle: 'received', settleS: 15, ...more };
}

/** What goes for every load. */
export function always(scenario: string, measured: Measured): Fact[] {
  const { verdict } = measured.result;
  const facts: Fact[] = [
    { scenario, what: 'accepted messages lost', value: verdict.lost, unit: '', goal: { atMost: 0 } },
    { scenario, what: 'received twice', value: verdict.duplicates, unit: '', goal: { atMost: 0 } },
  ];
  const errors = Object.values(verdict.errors).reduce((a, b) => a + b, 0);
  if (errors > 0) facts.push({ scenario, what: `errors ${JSON.stringify(verdict.errors)}`, value: errors, unit: '' });
  return facts;
}
