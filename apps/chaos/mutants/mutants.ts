/**
 * Faults planted into the product, each by a small change of its text, to see that the verdict finds it: a verdict that is
 * always clean says nothing. One family a file. A new one: add it to its family; mutants.test.ts and
 * `npm run chaos -- --mutant` take it up.
 */
import { appending } from './appending.ts';
import { archiving } from './archiving.ts';
import { attending } from './attending.ts';
import { delivering } from './delivering.ts';
import { marking } from './marking.ts';
import type { Mutant } from './mutant.ts';
import { pushing } from './pushing.ts';

export const MUTANTS: readonly Mutant[] = [
  ...delivering,
  ...appending,
  ...archiving,
  ...attending,
  ...marking,
  ...pushing,
];
