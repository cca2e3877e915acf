/** The full form, 2,000 users: `CHAOS=full`, or `node apps/chaos/push-handover.ts`. */
import { expect, it } from 'vitest';
import { type HandoverOptions, runHandover } from './push-handover.ts';

const FULL = process.env.CHAOS === 'full';
const options: HandoverOptions = FULL
  ? { users: 2000, perSecond: 200, seconds: 40, settleMs: 120_000 }
  : { users: 200, perSecond: 40, seconds: 10, settleMs: 80_000 };

it(
  'half of the users vanish, with a goodbye, with their gateway or without a word: each message is acked or pushed',
  async () => {
    const report = await runHandover(options);
    expect(report.neither).toEqual([]);
    expect(report.messages).toBeGreaterThan(0.9 * options.seconds * options.perSecond);
    expect(Math.min(...Object.values(report.vanished))).toBeGreaterThanOrEqual(Math.floor(options.users / 6));
    expect(report.pushed).toBeGreaterThan(options.users / 4);
    expect(report.wasted).toBeLessThanOrEqual(0.01 * report.pushes);
    expect(report.latestMs).toBeLessThan(90_000);
  },
  FULL ? 400_000 : 150_000,
);
