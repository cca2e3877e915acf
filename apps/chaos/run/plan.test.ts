import { expect, it } from 'vitest';
import { FAULTS } from '../faults/index.ts';
import { planOf } from './plan.ts';

const faults = FAULTS.slice(0, 4);

it('gives each fault alone its share of 70 % of the time, and leaves the rest to mixes', () => {
  expect(planOf({ seconds: 410, faults })).toEqual({ calmS: 10, alone: faults, slotS: 70, messages: 0 });
});

it('asked for so many messages each, gives each fault alone as long as they take', () => {
  const messagesEach = 20_000;
  expect(planOf({ seconds: 60, faults, messagesEach })).toEqual({
    ...{ calmS: 3, alone: faults, slotS: 0, messages: messagesEach },
  });
});

it('asked for none each, leaves all of the time to mixes', () => {
  expect(planOf({ seconds: 60, faults, messagesEach: 0 }).alone).toEqual([]);
});
