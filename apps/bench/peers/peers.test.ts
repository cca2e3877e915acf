import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { until } from '../../../ops/until.ts';
import type { Load, Range } from '../orders.ts';
import { Setting } from '../setting.ts';
import { systems } from './systems.ts';
import { summarize, tableOf } from './table.ts';

function load(from: Range, to: Range, settle: Load['settle']): Load {
  return { target: { kind: 'direct', from, to }, rate: 50, warmS: 0, seconds: 0.4, settle, settleS: 20 };
}

for (const { name, peer } of systems) {
  test(`${name}: what one sends the other receives across servers, and after a break what was missed`, async () => {
    const setting = await Setting.start(peer ? { peer } : {});
    try {
      const { generator } = setting;
      const [first] = await setting.connect(2); // one on each server
      const a: Range = [first, first + 1];
      const b: Range = [first + 1, first + 2];

      const there = await generator.obey({ order: 'load', load: load(a, b, 'received') });
      expect(there.verdict).toMatchObject({ lost: 0, duplicates: 0, stray: 0, unanswered: 0, errors: {} });
      expect(there.verdict.received).toBe(there.verdict.sent);
      expect(there.verdict.sent).toBeGreaterThan(0);

      await generator.obey({ order: 'leave', clients: b });
      // Socket.IO recovers only what its server has stored, which it does once it notices that the client is gone.
      if (peer) await stored(setting.redis.url);
      const missed = await generator.obey({ order: 'load', load: load(a, b, 'accepted') });
      expect(missed.verdict).toMatchObject({ unanswered: 0, errors: {} });
      const back = await generator.obey({ order: 'return', clients: b, timeoutS: 20 });
      expect(back).toMatchObject({ complete: true, verdict: { lost: 0, gaps: 0, stray: 0 } });
      expect(back.verdict.received).toBe(missed.verdict.accepted);
    } finally {
      await setting.stop();
    }
  }, 120_000);
}

async function stored(url: string): Promise<void> {
  const redis = new Redis(url);
  try {
    await until(
      'the session is stored',
      20_000,
      () => redis.keys('sio:session:*'),
      ({ length }) => length === 1,
    );
  } finally {
    redis.disconnect();
  }
}

test('a table shows the median and the spread of each figure, system beside system', () => {
  const sample = (system: string, value: number) => ({ row: 'one', what: 'CPU', unit: 'µs', system, value });
  const lines = summarize([sample('A', 3), sample('B', 300), sample('A', 1), sample('A', 2), sample('B', Number.NaN)]);
  expect(lines[0]?.figures.A).toEqual({ median: 2, least: 1, most: 3 });
  expect(tableOf(lines, ['A', 'B'])).toMatch(/2 µs \(1 to 3\).*never \(300 to never\)/);
});
