import { expect, test } from 'vitest';
import { Living } from './living.ts';

const RENEW_MS = 1000;

test('who stood still for two renewals is gone, and lives again with the next sign', () => {
  const living = new Living(RENEW_MS);
  for (let now = 0; now < 2000; now += 500) expect(living.of(['b', '1', 'a', `${now}`], now)).toEqual(['a', 'b']);
  expect(living.of(['b', '1', 'a', '2000'], 2000)).toEqual(['a']);
  expect(living.of(['b', '2', 'a', '2500'], 2500)).toEqual(['a', 'b']);
});

test('time in which nothing was seen says nothing about anybody', () => {
  const living = new Living(RENEW_MS);
  living.of(['b', '1', 'a', '0'], 0);
  expect(living.of(['b', '1', 'a', '9000'], 9000)).toEqual(['a', 'b']);
  living.of(['b', '1', 'a', '9500'], 9500);
  living.broken();
  for (let now = 10_000; now < 12_000; now += 500) {
    expect(living.of(['b', '1', 'a', `${now}`], now)).toEqual(['a', 'b']);
  }
  expect(living.of(['b', '1', 'a', '12000'], 12_000)).toEqual(['a']);
});
