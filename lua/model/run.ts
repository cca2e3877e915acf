/** Runs schedules, and makes a failing one as short as it can. */
import type { Mutant } from './mutants.ts';
import { type Schedule, say, schedule } from './schedule.ts';
import { verdict } from './verdict.ts';
import { World } from './world.ts';

export function broken(of: Schedule, mutant?: Mutant): string | undefined {
  const world = new World(of, mutant);
  for (const step of of.steps) world.step(step);
  world.settle();
  return verdict(world);
}

/** Leaves out what can be left out, as long as a promise breaks. */
export function shrink(failing: Schedule, mutant?: Mutant): Schedule {
  let { steps } = failing;
  for (let length = 0; length !== steps.length; ) {
    length = steps.length;
    for (let i = steps.length - 1; i >= 0; i--) {
      const fewer = steps.toSpliced(i, 1);
      if (broken({ ...failing, steps: fewer }, mutant)) steps = fewer;
    }
  }
  return { ...failing, steps };
}

export interface Failure {
  seed: number;
  problem: string;
  shortest: Schedule;
}

/** Schedules of the seeds `seed`, `seed + 1` …; the first that breaks a promise. */
export function search(schedules: number, seed: number, mutant?: Mutant, onProgress?: (done: number) => void) {
  for (let i = 0; i < schedules; i++) {
    if (onProgress && i % 10_000 === 0) onProgress(i);
    const failing = schedule(seed + i);
    if (!broken(failing, mutant)) continue;
    const shortest = shrink(failing, mutant);
    return { seed: seed + i, problem: broken(shortest, mutant) ?? '', shortest } satisfies Failure;
  }
  return undefined;
}

export function describe({ seed, problem, shortest }: Failure): string {
  const steps = shortest.steps.map((step) => `  ${say(step)}`).join('\n');
  return `seed ${seed}: ${problem}\nACK_REPLICAS ${shortest.replicas ? 'on' : 'off'}, and then\n${steps}`;
}
