/** The short form of `npm run model`. */
import { describe, expect, test } from 'vitest';
import { MUTANTS, type Mutant } from './mutants.ts';
import { describe as say, search } from './run.ts';

const SCHEDULES = 5000;
/** Most mutants are noticed within a hundred. */
const SCHEDULES_PER_MUTANT = 20_000;
/** A log that is trimmed past a target that then goes back is rare: near here there is one. */
const FIRST: Partial<Record<Mutant, number>> = { 'floor-forgotten': 73_500, 'log-trim-unmarked': 73_500 };

test(`${SCHEDULES} random schedules break no promise`, () => {
  const failure = search(SCHEDULES, 1);
  expect(failure && say(failure)).toBeUndefined();
});

describe('is noticed:', () => {
  test.each(Object.entries(MUTANTS))(
    '%s: %s',
    (mutant) => {
      expect(search(SCHEDULES_PER_MUTANT, FIRST[mutant as Mutant] ?? 1, mutant as Mutant)).toBeDefined();
    },
    120_000,
  );
});
