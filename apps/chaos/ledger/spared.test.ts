import { expect, it } from 'vitest';
import { partitionOf } from '../../../lib/partitions/slices.ts';
import { Findings } from './findings.ts';
import { Spared } from './spared.ts';

const PARTITIONS = 16;
const [channel, user] = ['dm:ann:bob', 'bob'];

/** A hundred showings before anything, and a hundred while `partitions` are down, the latter so late. */
function judged(partitions: readonly number[], lateMs: number): number {
  const spared = new Spared(PARTITIONS);
  for (let n = 0; n < 100; n++) spared.shown(n, user, true, 20);
  spared.outage(partitions);
  for (let n = 100; n < 200; n++) spared.wrote({ n, channel, user });
  spared.outage(null);
  for (let n = 200; n < 300; n++) spared.wrote({ n, channel, user });
  for (let n = 100; n < 200; n++) spared.shown(n, user, false, lateMs);
  for (let n = 200; n < 300; n++) spared.shown(n, user, false, 60_000); // it is over
  const findings = new Findings();
  spared.judge(findings);
  return findings.count('noticed');
}

it('who has nothing to do with what is down, or with who misbehaves, must not be shown things later than before', () => {
  const own = [partitionOf(channel, PARTITIONS), partitionOf(user, PARTITIONS)];
  const others = Array.from({ length: PARTITIONS }, (_, p) => p).filter((p) => !own.includes(p));
  for (const down of [others, []]) {
    expect(judged(down, 200)).toBe(0);
    expect(judged(down, 300)).toBe(1);
  }
  expect(judged(own, 300)).toBe(0);
});
