import { expect, it } from 'vitest';
import { SEQ_STRIDE } from '../../../lib/archive/rows.ts';
import { baseOf } from '../../../lib/rebuild/channel.ts';
import { Losses } from './losses.ts';

function lostOnce(): Losses {
  const losses = new Losses();
  losses.losing(20_000, [
    ['dm:a:b', 7, baseOf(7, 1)],
    ['g:1', SEQ_STRIDE + 3, baseOf(SEQ_STRIDE + 3, 1)],
  ]);
  losses.lost(21_000);
  return losses;
}

it('what the archive has may not be gone; what comes after it may, up to where the channel goes on', () => {
  const losses = lostOnce();
  expect([1, 7, 8, SEQ_STRIDE, SEQ_STRIDE + 1].map((seq) => losses.mayTake('dm:a:b', seq))).toEqual([
    ...[false, false, true, true, false],
  ]);
  expect([3, 4].map((n) => losses.mayTake('g:1', SEQ_STRIDE + n))).toEqual([false, true]);
  expect(losses.mayTake('g:1', 2 * SEQ_STRIDE + 1)).toBe(false);
});

it('no other channel loses anything, and without a loss none does', () => {
  expect(lostOnce().mayTake('dm:a:c', 8)).toBe(false);
  expect(lostOnce().mayTakeAll('dm:a:c', 8, 9)).toBe(false);
  expect(new Losses().mayTake('dm:a:b', 8)).toBe(false);
  expect(new Losses().mayTakeWhatWas(0, 1_000_000)).toBe(false);
});

it('a stretch may be gone only when all of it may, by one and the same loss', () => {
  const losses = lostOnce();
  expect(losses.mayTakeAll('dm:a:b', 8, SEQ_STRIDE)).toBe(true);
  expect(losses.mayTakeAll('dm:a:b', 7, SEQ_STRIDE)).toBe(false);
  expect(losses.mayTakeAll('dm:a:b', 8, SEQ_STRIDE + 1)).toBe(false);
  losses.losing(60_000, [['dm:a:b', SEQ_STRIDE + 5, baseOf(SEQ_STRIDE + 5, 2)]]);
  losses.lost(60_100);
  expect(losses.mayTakeAll('dm:a:b', SEQ_STRIDE + 6, 3 * SEQ_STRIDE)).toBe(true);
  expect(losses.mayTake('dm:a:b', 3 * SEQ_STRIDE + 1)).toBe(false);
  expect(losses.mayTakeAll('dm:a:b', 8, 2 * SEQ_STRIDE)).toBe(false);
});

it('what has no number may be gone when it was made about the time of the loss: not long before, and not after', () => {
  const losses = lostOnce();
  expect(losses.mayTakeWhatWas(5_000, 9_999)).toBe(false);
  expect(losses.mayTakeWhatWas(9_000, 10_000)).toBe(true);
  expect(losses.mayTakeWhatWas(20_500, 30_000)).toBe(true);
  expect(losses.mayTakeWhatWas(21_001, 21_500)).toBe(false);
});

it('as long as it is not over, whatever is made may be gone', () => {
  const losses = new Losses();
  losses.losing(20_000, []);
  expect(losses.mayTakeWhatWas(900_000, 900_001)).toBe(true);
});
