import { setTimeout as sleep } from 'node:timers/promises';

/** Between two batches of what is done for many users at once: Redis serves others meanwhile. */
export function pause(): Promise<void> {
  return sleep(20);
}
