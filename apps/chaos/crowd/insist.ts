import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../../lib/client/index.ts';

/** Until it works, or is refused for good. */
export async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (let waitMs = 100; ; waitMs = Math.min(2_000, waitMs * 2)) {
    try {
      return await call();
    } catch (error) {
      const passing = error instanceof MillraceError && ['unavailable', 'rate_limited'].includes(error.code);
      if (!passing) throw error;
      await sleep(waitMs);
    }
  }
}
