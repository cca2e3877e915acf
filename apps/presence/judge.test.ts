import { describe, expect, it } from 'vitest';
import { Judge } from './judge.ts';

const TIMES = { missingMs: 15_000, massMs: 60_000, breakMs: 7500 };
const EVERY = 2500;

/** Roll calls of partition 0 at each of the times, with these gateways leased or not. */
function watch(judge = new Judge(TIMES)) {
  const call = (at: number, leased: Record<string, boolean>, partition = 0) => {
    const gateways = Object.entries(leased).map(([gateway, is]) => ({ gateway, leased: is, renewedAt: 7 }));
    return judge.answered(partition, gateways, at, at + 1).map(({ gateway }) => gateway);
  };
  /** The same until a time; returns when each was suspect first. */
  const until = (from: number, to: number, leased: Record<string, boolean>) => {
    const first: Record<string, number> = {};
    for (let at = from; at <= to; at += EVERY) for (const gateway of call(at, leased)) first[gateway] ??= at;
    return first;
  };
  return { judge, call, until };
}

describe('a gateway is suspect', () => {
  it('when its lease was missing in every roll call of fifteen seconds', () => {
    expect(watch().until(0, 30_000, { a: true, b: false })).toEqual({ b: 17_500 });
  });

  it('not while it is renewed now and then: a hiccup starts the time anew', () => {
    const { until } = watch();
    expect(until(0, 12_500, { a: false })).toEqual({});
    expect(until(15_000, 15_000, { a: true })).toEqual({});
    expect(until(17_500, 32_500, { a: false })).toEqual({});
    expect(until(35_000, 35_000, { a: false })).toEqual({ a: 35_000 });
  });

  it('not by what was not seen: a failed or a late roll call starts the time anew', () => {
    const failed = watch();
    failed.until(0, 12_500, { a: false });
    failed.judge.interrupted(0);
    expect(failed.until(15_000, 50_000, { a: false })).toEqual({ a: 32_500 });
    const late = watch();
    late.until(0, 12_500, { a: false });
    expect(late.until(21_000, 60_000, { a: false })).toEqual({ a: 38_500 });
  });

  it('in one partition, whatever it is in others', () => {
    const { call } = watch();
    for (let at = 0; at < 15_000; at += EVERY) {
      call(at, { a: false }, 0);
      call(at, { a: true }, 1);
    }
    expect(call(17_500, { a: false }, 0)).toEqual(['a']);
    expect(call(17_500, { a: true }, 1)).toEqual([]);
    expect(call(17_500, { a: false }, 2)).toEqual([]);
  });
});

describe('when many look dead at once', () => {
  const some = (dead: number, all: number) =>
    Object.fromEntries(Array.from({ length: all }, (_, i) => [`gw${i}`, i >= dead]));

  it.each([
    [1, 2, false],
    [2, 2, false],
    [3, 3, true],
    [3, 8, true],
    [3, 9, false],
    [4, 9, true],
  ])('%i of %i: doubted is %s', (dead, all, doubted) => {
    const { judge, call } = watch();
    call(0, some(dead, all));
    expect(judge.doubts(0)).toBe(doubted);
  });

  it('nobody is believed dead for a minute, and the time is anew after fewer', () => {
    const { judge, call } = watch();
    call(0, some(3, 3));
    expect([judge.doubts(0), judge.doubts(59_999), judge.doubts(60_000)]).toEqual([true, true, false]);
    call(1, some(2, 3));
    expect(judge.doubts(70_000)).toBe(false);
    call(2, some(3, 3));
    expect(judge.doubts(80_000)).toBe(true);
  });

  it('those that have just gone count: the first whose time is up is not reaped before the others are seen', () => {
    const { judge, call } = watch();
    for (let at = 0; at <= 15_000; at += EVERY) call(at, some(1, 3));
    expect(judge.doubts(15_000)).toBe(false);
    call(17_500, some(3, 3));
    expect(judge.doubts(17_500)).toBe(true);
  });

  it('over all partitions together', () => {
    const { judge, call } = watch();
    call(0, { a: false, d: true }, 0);
    call(0, { b: false }, 1);
    expect(judge.doubts(0)).toBe(false);
    call(0, { c: false }, 2);
    expect(judge.doubts(0)).toBe(true);
  });
});
