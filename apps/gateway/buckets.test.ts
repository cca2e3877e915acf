import { describe, expect, test } from 'vitest';
import { Buckets, Rate } from './buckets.ts';

const taken = (buckets: Buckets, key: string, times: number, now: number) =>
  Array.from({ length: times }, () => buckets.take(key, now)).filter((wait) => wait === 0).length;

describe('token buckets', () => {
  test('a burst at once, then the rate, and never more than the burst after a pause', () => {
    for (const start of [0, 1234.567, 86_400_000.1]) {
      const buckets = new Buckets(new Rate(20, 40));
      expect(taken(buckets, 'a', 100, start)).toBe(40);
      expect(buckets.take('a', start)).toBe(50);
      expect(buckets.take('a', start + 49)).toBe(1);
      expect(taken(buckets, 'a', 10, start + 50)).toBe(1);
      expect(taken(buckets, 'a', 100, start + 1050)).toBe(20);
      expect(taken(buckets, 'a', 100, start + 60_000)).toBe(40);
    }
  });

  test('in the long run exactly the rate passes, however the attempts fall', () => {
    const buckets = new Buckets(new Rate(20, 40));
    let passed = 0;
    for (let now = 0; now < 60_000; now += Math.random() * 10) if (buckets.take('a', now) === 0) passed++;
    expect(passed).toBeGreaterThanOrEqual(40 + 20 * 60 - 2);
    expect(passed).toBeLessThanOrEqual(40 + 20 * 60);
  });

  test('waiting as long as told is enough', () => {
    const buckets = new Buckets(new Rate(7, 3));
    let now = 10;
    for (let i = 0; i < 200; i++) {
      const wait = buckets.take('a', now);
      if (wait === 0) continue;
      now += wait;
      expect(buckets.take('a', now)).toBe(0);
    }
  });

  test('what is left and when it is whole again', () => {
    const buckets = new Buckets(new Rate(20, 40));
    expect(buckets.left('a', 0)).toEqual({ tokens: 40, fullInMs: 0 });
    taken(buckets, 'a', 10, 0);
    expect(buckets.left('a', 0)).toEqual({ tokens: 30, fullInMs: 500 });
    taken(buckets, 'a', 40, 0);
    expect(buckets.left('a', 0)).toEqual({ tokens: 0, fullInMs: 2000 });
    expect(buckets.left('a', 3000)).toEqual({ tokens: 40, fullInMs: 0 });
  });

  test('keys do not touch each other', () => {
    const buckets = new Buckets(new Rate(20, 40));
    expect(taken(buckets, 'a', 50, 0)).toBe(40);
    expect(taken(buckets, 'b', 50, 0)).toBe(40);
  });

  test('only buckets that are not full are remembered, and no debt is forgotten', () => {
    const buckets = new Buckets(new Rate(20, 40));
    for (let i = 0; i < 100_000; i++) buckets.take(`user ${i}`, i);
    expect(buckets.size).toBeLessThanOrEqual(2 * 2000 + 1);
    // A bucket emptied at any moment of a generation is still empty just after, whatever generation that is in.
    for (let at = 200_000; at < 210_000; at += 333) {
      expect(taken(buckets, `late ${at}`, 40, at)).toBe(40);
      buckets.take('somebody else', at + 1);
      expect(buckets.take(`late ${at}`, at + 1)).toBeGreaterThan(0);
      expect(taken(buckets, `late ${at}`, 100, at + 1900)).toBe(38);
    }
    buckets.take('nobody', 1_000_000);
    expect(buckets.size).toBe(1);
  });
});
