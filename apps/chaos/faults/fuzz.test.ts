/** The short form of `npm run chaos -- --faults fuzz --frames 100000 --requests 20000`. */
import { expect, it } from 'vitest';
import { linesOf } from '../run/report.ts';
import { run } from '../run/run.ts';
import { fuzz } from './fuzz.ts';

it('mutated frames and requests beside people who write: no promise is broken', async () => {
  const log: string[] = [];
  const outcome = await run({
    ...{ faults: [fuzz], topology: 'standalone', archive: 'sqlite' },
    ...{ seconds: 8, perSecond: 100, users: 24, seed: 1, settleMs: 60_000, processesPerRole: 2 },
    fuzz: { frames: 2_000, requests: 400 },
    progressEveryMs: 5_000,
    say: (line) => void log.push(line),
  });
  const { findings, spared } = outcome.verdict;
  // How long anything takes while other tests run says nothing: that nobody notices is for the long form.
  const broken = findings.broken.filter((promise) => promise !== 'noticed');
  expect(broken, [...log, ...linesOf(outcome)].join('\n')).toEqual([]);
  expect(Number(/^(\d+) showings/.exec(spared ?? '')?.[1])).toBeGreaterThan(100);
  expect(outcome.strikes[0]?.did).toMatch(/bad_frame/);
}, 180_000);
