/** A fault planted into the product by a small change of its text. */
import type { Promised } from '../ledger/findings.ts';

export interface Edit {
  file: string;
  /** Is there exactly once. */
  was: string;
  becomes: string;
}

export interface Mutant {
  name: string;
  does: string;
  edits: readonly Edit[];
  /** What the verdict has to find, whatever else it finds. */
  breaks: Promised;
  /** The fault of `FAULTS` that it takes to come to light. */
  fault?: string;
  /** Where the short run is too short. */
  run?: { seconds?: number; settleMs?: number };
  /** Found in every `npm test`; the others with CHAOS=full. */
  always?: true;
}
