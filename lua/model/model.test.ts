/** The short form of `npm run model`. */
import { describe, expect, test } from 'vitest';
import { MUTANTS, type Mutant } from './mutants.ts';
import { broken, describe as say, search } from './run.ts';
import type { Schedule } from './schedule.ts';
import { ALICE, BOB, GROUP } from './state.ts';

const SCHEDULES = 5000;
/** Most mutants are noticed within a hundred. */
const SCHEDULES_PER_MUTANT = 20_000;
/** A log that is trimmed past a target that then goes back is rare: near here there is one. */
const FIRST: Partial<Record<Mutant, number>> = {
  'floor-forgotten': 73_500,
  'log-trim-unmarked': 73_500,
  'hole-unnoticed': 195_000,
  'start-at-end': 36_000,
  'list-left-behind': 73_500,
};

/** Worker 0 has read nothing when worker 1 has delivered and trimmed all, and the target goes back to where it began. */
const LATE_WORKER: Schedule = {
  replicas: true,
  steps: [
    { do: 'connect', user: ALICE, device: 0, since: 'none' },
    { do: 'replicate', partition: 0 },
    { do: 'send', user: BOB, device: 0, channel: GROUP, repeat: false, answered: true },
    { do: 'send', user: ALICE, device: 0, channel: GROUP, repeat: false, answered: true },
    { do: 'read log', worker: 1, nth: 2, count: 3 },
    { do: 'deliver', worker: 1, nth: 2, outcome: 'ok' },
    { do: 'read log', worker: 1, nth: 3, count: 3 },
    { do: 'deliver', worker: 1, nth: 3, outcome: 'ok' },
    { do: 'failover', partition: 0 },
    { do: 'advance', worker: 1, source: 1, keepTail: false },
  ],
};

test('a worker that is late does not go on behind what another had trimmed, at a target that went back', () => {
  expect(broken(LATE_WORKER)).toBeUndefined();
  expect(broken(LATE_WORKER, 'hole-unnoticed')).toBeDefined();
});

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
