import { expect, it } from 'vitest';
import { neighbour } from './traffic.ts';

it('a neighbour is one of the ring, also of a ring smaller than the distance', () => {
  expect([1, 250, -1, -250].map((distance) => neighbour(0, distance, 2000))).toEqual([1, 250, 1999, 1750]);
  expect([1, 250, -1, -250].map((distance) => neighbour(0, distance, 200))).toEqual([1, 50, 199, 150]);
  expect(neighbour(199, 250, 200)).toBe(49);
});
