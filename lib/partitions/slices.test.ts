import keySlot from 'cluster-key-slot';
import { describe, expect, it } from 'vitest';
import { partitionOf, SLOTS, tagOf } from './slices.ts';

describe('slices', () => {
  for (const partitions of [1, 2, 16, 64, 256, 1024]) {
    it(`gives each of ${partitions} partitions a tag in its own slice`, () => {
      for (let p = 0; p < partitions; p++) {
        const slot = keySlot(`log:{${tagOf(p, partitions)}}`);
        expect(Math.floor((slot * partitions) / SLOTS)).toBe(p);
      }
    });
  }

  it('spreads ids over all partitions evenly', () => {
    const counts = new Array<number>(16).fill(0);
    for (let i = 0; i < 16_000; i++) counts[partitionOf(`user-${i}`, 16)]!++;
    expect(Math.min(...counts)).toBeGreaterThan(800);
    expect(Math.max(...counts)).toBeLessThan(1200);
  });

  it('refuses a count that is not a power of two', () => {
    expect(() => tagOf(0, 12)).toThrow(/power of two/);
    expect(() => tagOf(16, 16)).toThrow(/no partition/);
  });
});
