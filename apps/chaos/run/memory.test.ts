import { expect, it } from 'vitest';
import { overlay } from '../mutants/overlay.ts';
import { type Curve, FLAT, growthOf, KEPT_BRIEFLY, memoryRows } from './memory.ts';

function curve(bytes: (atS: number) => number): Curve {
  const samples = Array.from({ length: 61 }, (_, i) => ({ atS: i * 10, bytes: bytes(i * 10) }));
  return { name: 'gateway 1', samples };
}

/** What a collector of garbage makes of a steady load. */
const saw = (atS: number) => ((atS / 10) % 7) * 1e6;

it('what fills up in the first half and stays is flat, however it goes up and down', () => {
  const grown = curve((atS) => 100e6 * Math.min(1, atS / 250) + saw(atS));
  expect(Math.abs(growthOf(grown))).toBeLessThan(0.02);
  expect(memoryRows([grown])[0]).toMatchObject({ flat: true, mib: expect.arrayContaining([{ atS: 0, mib: 0 }]) });
  expect(memoryRows([grown], 4)[0]!.mib.map(({ atS }) => atS)).toEqual([0, 200, 400, 600]);
});

it('what rises by more than a twentieth over the last half is not, and what falls is', () => {
  const rising = growthOf(curve((atS) => 100e6 + 30_000 * atS + saw(atS)));
  expect(rising).toBeGreaterThan(FLAT);
  expect(rising).toBeLessThan(0.09);
  expect(growthOf(curve((atS) => 100e6 - 30_000 * atS))).toBeLessThan(-FLAT);
  expect(memoryRows([curve((atS) => 100e6 + 30_000 * atS)])[0]!.flat).toBe(false);
});

it('what is kept for a time in Redis is kept briefly in the sources of such a run', () => {
  expect(() => overlay(KEPT_BRIEFLY)).not.toThrow();
});
