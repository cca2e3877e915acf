/** Which faults come when: each alone, one after the other, then random mixes, all from the seed. */
import type { Fault } from '../faults/index.ts';
import type { Random } from '../random.ts';

/** Of the time, for faults alone; the rest is for mixes. */
const ALONE = 0.7;
/** In a mix, strikes begin so far apart at most. */
const SPREAD_MS = 4_000;

export interface Plan {
  /** Without a fault, to begin with; all of it when there are none. */
  calmS: number;
  alone: readonly Fault[];
  /** How long each fault alone is repeated, at least. */
  slotS: number;
  /** How many are accepted in that time, at least. */
  messages: number;
}

export interface Wishes {
  seconds: number;
  faults: readonly Fault[];
  /** Then as many, and not a share of the time, is what each fault alone gets; with 0 none comes alone. */
  messagesEach?: number;
}

export function planOf({ seconds, faults, messagesEach }: Wishes): Plan {
  const calmS = faults.length === 0 ? seconds : Math.min(10, seconds * 0.05);
  if (messagesEach !== undefined) {
    return { calmS, alone: messagesEach > 0 ? faults : [], slotS: 0, messages: messagesEach };
  }
  const share = faults.length > 1 ? ALONE : 1;
  return { calmS, alone: faults, slotS: ((seconds - calmS) * share) / faults.length, messages: 0 };
}

export interface Strike {
  fault: Fault;
  afterMs: number;
}

/** Two or three at once, none of which takes hold of what another has. */
export function mixOf(faults: readonly Fault[], random: Random): Strike[] {
  const count = 2 + random.below(2);
  const mix: Strike[] = [];
  const taken = new Set<string>();
  for (const fault of random.shuffled(faults)) {
    if (mix.length === count) break;
    if (fault.victims.some((victim) => taken.has(victim))) continue;
    for (const victim of fault.victims) taken.add(victim);
    mix.push({ fault, afterMs: random.between(0, SPREAD_MS) });
  }
  return mix;
}
