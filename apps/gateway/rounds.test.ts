import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Watermarks } from '../../lib/redis/receipt-verbs.ts';
import { Rounds, type Waiting } from './rounds.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Rounds of 100 ms, and what each of them told. */
function rounds(settle: (waiting: Waiting<Watermarks>) => void = ({ told }) => told.resolve()) {
  const told: Watermarks[][] = [];
  const made = new Rounds<Watermarks>(100, (waiting) => {
    told.push(waiting.map(({ item }) => item));
    waiting.forEach(settle);
  });
  return { made, told };
}

test('what comes within a round is told at its end, of each key once, and never less than was said before', async () => {
  const { made, told } = rounds();
  const all = [
    made.add('bob', { delivered: 3, read: 1 }),
    made.add('cleo', { delivered: 1, read: 1 }),
    made.add('bob', { delivered: 2, read: 2 }),
  ];
  vi.advanceTimersByTime(99);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(1);
  await Promise.all(all);
  all.push(made.add('bob', { delivered: 4, read: 4 }));
  vi.advanceTimersByTime(100);
  await Promise.all(all);
  expect(told).toEqual([
    [
      { delivered: 3, read: 2 },
      { delivered: 1, read: 1 },
    ],
    [{ delivered: 4, read: 4 }],
  ]);
});

test('what cannot be told is refused to all who wait for it, and to nobody else', async () => {
  const { made } = rounds(({ item, told }) => (item.read > 1 ? told.reject(new Error('away')) : told.resolve()));
  const bob = [made.add('bob', { delivered: 1, read: 1 }), made.add('bob', { delivered: 2, read: 2 })];
  const cleo = made.add('cleo', { delivered: 1, read: 1 });
  const refused = Promise.all(bob.map((promise) => expect(promise).rejects.toThrow('away')));
  vi.advanceTimersByTime(100);
  await Promise.all([refused, cleo]);
});

test('hurried, a round ends at once, and those of the next second after little', () => {
  const { made, told } = rounds();
  void made.add('bob', { delivered: 1, read: 1 });
  made.hurry();
  expect(told).toHaveLength(1);
  void made.add('bob', { delivered: 2, read: 1 });
  vi.advanceTimersByTime(5);
  expect(told).toHaveLength(2);
  vi.advanceTimersByTime(1000);
  void made.add('bob', { delivered: 3, read: 1 });
  vi.advanceTimersByTime(5);
  expect(told).toHaveLength(2);
  vi.advanceTimersByTime(95);
  expect(told).toHaveLength(3);
});
