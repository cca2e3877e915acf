/** A short run of a mutant, or of the product with nothing but a smaller inbox. */
import { FAULTS, type Fault } from '../faults/index.ts';
import { type Outcome, type RunOptions, run } from '../run/run.ts';
import type { Edit, Mutant } from './mutant.ts';
import { overlay } from './overlay.ts';

/** How long nothing comes before what is missing counts as lost. */
const PATIENCE_MS = 5_000;

export function shortRun({ fault, run: its = {} }: Pick<Mutant, 'fault' | 'run'>): Omit<RunOptions, 'say'> {
  const faults = fault === undefined ? [] : [faultNamed(fault)];
  return {
    faults,
    topology: 'standalone',
    archive: 'sqlite',
    seconds: 5,
    perSecond: 250,
    users: 16,
    seed: 1,
    settleMs: PATIENCE_MS,
    // A process is killed only when another is there.
    processesPerRole: faults.length > 0 ? 2 : 1,
    progressEveryMs: 5_000,
    ...its,
  };
}

export function tryMutant(mutant: Mutant, say: (line: string) => void): Promise<Outcome> {
  return run({ ...shortRun(mutant), ...overlay(mutant.edits), say });
}

/** It keeps every promise. */
export function tryProduct(edits: readonly Edit[], fault: string, say: (line: string) => void) {
  return run({ ...shortRun({ fault }), settleMs: 60_000, ...overlay(edits), say });
}

function faultNamed(name: string): Fault {
  const fault = FAULTS.find((candidate) => candidate.name === name);
  if (!fault) throw new Error(`no fault ${name}`);
  return fault;
}
