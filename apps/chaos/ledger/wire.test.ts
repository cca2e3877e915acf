import { expect, it } from 'vitest';
import { Findings } from './findings.ts';
import { Wire } from './wire.ts';

function judged(...frames: [session: number, seq: number, offset: string, id?: string][]) {
  const wire = new Wire();
  for (const [session, seq, offset, id = `id-${seq}`] of frames) {
    wire.sent(['sent', 0, 0, session, 'dm:a:b', seq, id, offset]);
  }
  const findings = new Findings();
  wire.judge('a/phone', findings);
  return { wire, broken: findings.broken };
}

it('what comes once and in order in each session is right, also when the next session begins further back', () => {
  expect(judged([1, 1, '5-0'], [1, 2, '9-0'], [1, 4, '10-0'], [2, 2, '9-0'], [2, 4, '10-0']).broken).toEqual([]);
});

it('the same event again in one session is a repetition, whatever its offset', () => {
  expect(judged([1, 1, '5-0'], [1, 2, '6-0'], [1, 1, '7-0']).broken).toEqual(['sentTwice']);
});

it('an earlier number, or an earlier offset, is out of order, and another event under a number is too', () => {
  expect(judged([1, 2, '5-0'], [1, 1, '6-0']).broken).toEqual(['sentOutOfOrder']);
  expect(judged([1, 1, '10-0'], [1, 2, '9-0']).broken).toEqual(['sentOutOfOrder']);
  expect(judged([1, 1, '5-0'], [1, 1, '6-0', 'another']).broken).toEqual(['sentOutOfOrder']);
});

it('what was never sent is missing, but for what a gap was told of', () => {
  const { wire } = judged([1, 1, '5-0'], [1, 3, '6-0']);
  expect([1, 2, 3, 4].map((seq) => wire.has('dm:a:b', seq))).toEqual([true, false, true, false]);
  wire.told(['told', 0, 0, 1, [['dm:a:b', 2]]]);
  expect([1, 2, 3, 4].map((seq) => wire.has('dm:a:b', seq))).toEqual([true, true, true, false]);
  expect(wire.has('g:other', 1)).toBe(false);
});
