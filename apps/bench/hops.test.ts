import { expect, it } from 'vitest';
import { Hops } from './hops.ts';

it('says where most messages spend their time, and where the slowest hundredth does', () => {
  const hops = new Hops();
  for (let i = 0; i < 197; i++) hops.add({ due: 0, left: 1, appended: 3, delivered: 7, shown: 9 });
  for (const late of [40, 50, 60]) hops.add({ due: 0, left: 1, appended: 4, delivered: 4 + late, shown: 8 + late });
  const times = hops.times()!;
  expect(times.all.append.p50).toBeCloseTo(2.5, 1);
  expect(times.all.deliver).toEqual({ p50: expect.closeTo(4, 1), p99: expect.closeTo(40, 0) });
  expect(times.slowest).toEqual({ generator: 1, append: 3.5, deliver: 55, show: 3.5 });
});

it('says nothing of a peer that notes nothing', () => {
  expect(new Hops().times()).toBeUndefined();
});
