/** What a process says, and ends with, when it cannot go on. */
import { ArchiveError } from '../archive/archive.ts';
import { ConfigError } from '../config/index.ts';
import { StartupError } from '../redis/errors.ts';

/** For errors that the operator can mend, their message; for all others the stack, because it is a bug or an outage. */
export function explain(error: unknown): string {
  if (isForTheOperator(error)) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Errors that say themselves what to change. */
const isForTheOperator = (error: unknown): error is Error =>
  error instanceof ConfigError || error instanceof StartupError || error instanceof ArchiveError;

/** 78 (EX_CONFIG) when something has to be changed first; 1 when the same may work later. */
export const exitCodeOf = (error: unknown): number => {
  if (error instanceof ArchiveError && error.code === 'unavailable') return 1;
  return isForTheOperator(error) ? 78 : 1;
};
