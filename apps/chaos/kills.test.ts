/** The full form, a minute at 1,000/s: `CHAOS=full`, or `node apps/chaos/kills.ts`. */
import { expect, it } from 'vitest';
import { type KillOptions, runKills } from './kills.ts';

const FULL = process.env.CHAOS === 'full';
const options: KillOptions = FULL
  ? { seconds: 60, perSecond: 1000, kills: 30, users: 80, settleMs: 120_000 }
  : { seconds: 15, perSecond: 300, kills: 15, users: 40, settleMs: 40_000 };

it(
  'whatever is killed in the middle of traffic, each accepted message is shown once, in order, and archived once, and receipts say what the users did',
  async () => {
    const { verdict, kills, wrongMarks, reads, offline } = await runKills(options);
    expect(verdict).toMatchObject({
      refused: [],
      lost: [],
      outOfOrder: [],
      shownTwice: [],
      strange: [],
      notArchived: [],
    });
    expect(verdict.accepted).toBe(verdict.sent);
    expect(verdict.sent).toBeGreaterThanOrEqual(options.seconds * options.perSecond);
    expect(Math.min(...Object.values(kills))).toBeGreaterThanOrEqual(options.kills / 5);
    expect(reads).toBeGreaterThan(verdict.accepted / 4);
    expect(wrongMarks).toEqual([]);
    expect(offline).toEqual([]);
  },
  FULL ? 400_000 : 110_000,
);
