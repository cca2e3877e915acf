/** The short form of `npm run chaos`: the same run, the same verdict, less time. */
import { expect, it } from 'vitest';
import { FAULTS } from '../faults/index.ts';
import { linesOf, rowsOf, tableOf } from './report.ts';
import { run } from './run.ts';

const NAMES = ['gateway-kill', 'fanout-kill', 'archiver-kill', 'presence-kill', 'pusher-kill', 'redis-restart'];

it('whatever dies under traffic, the ledger finds nothing lost, out of order or shown twice, and no other promise broken', async () => {
  const log: string[] = [];
  const outcome = await run({
    faults: FAULTS.filter(({ name }) => NAMES.includes(name)),
    topology: 'standalone',
    archive: 'sqlite',
    seconds: 20,
    perSecond: 200,
    users: 48,
    seed: 1,
    settleMs: 60_000,
    processesPerRole: 2,
    progressEveryMs: 5_000,
    say: (line) => void log.push(line),
  });
  const { findings } = outcome.verdict;
  expect(findings.broken, [...log, tableOf(outcome), ...linesOf(outcome)].join('\n')).toEqual([]);
  expect(rowsOf(outcome).map(({ fault }) => fault)).toEqual(expect.arrayContaining(['none', ...NAMES]));
  expect(outcome.verdict.accepted).toBeGreaterThan(20 * 200 * 0.9);
  expect(outcome.verdict.edits).toBeGreaterThan(0);
  expect(outcome.verdict.deletes).toBeGreaterThan(0);
  expect(outcome.verdict.changes).toBeGreaterThan(0);
}, 180_000);
