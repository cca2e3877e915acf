import { expect, test } from 'vitest';
import type { LoadResult, Verdict } from './orders.ts';
import { costsPer } from './report.ts';
import { lostIn, ratio, type Turns } from './turns.ts';

/** With what each turn cost, and what became of its messages. */
function side(name: string, micros: readonly number[], verdict: Partial<Verdict> = {}): Turns {
  const whole = { lost: 0, unanswered: 0, ...verdict };
  const turns = micros.map((cpu) => ({
    costs: costsPer(1, { redis: cpu }),
    result: { verdict: whole } as LoadResult,
  }));
  return { name, turns, rest: costsPer(1, {}) };
}

test('what something costs is the median of the rounds: one in which another program got in between changes nothing', () => {
  const cost = ({ costs }: Turns['turns'][number]) => costs.servers;
  // All slower and slower, and one turn disturbed.
  expect(ratio(side('a', [100, 200, 400]), side('b', [110, 900, 440]), cost)).toBeCloseTo(1.1);
  expect(ratio(side('a', [100, 200, 400]), side('a', [100, 200, 400]), cost)).toBe(1);
});

test('what one turn lost, or had no answer for, is lost', () => {
  expect(lostIn([side('a', [1, 1]), side('b', [1, 1], { lost: 2, unanswered: 1 })])).toBe(6);
  expect(lostIn([side('a', [1])])).toBe(0);
});

test('all primaries and replicas are Redis, all gateways are gateways', () => {
  const cpu = {
    'gateway 1': 10,
    'gateway 2': 20,
    workers: 5,
    'redis 1': 1,
    'redis replica 1': 2,
    generator: 90,
    bench: 9,
  };
  expect(costsPer(2, cpu)).toEqual({ gateways: 15, workers: 2.5, redis: 1.5, servers: 19, generator: 45 });
});
