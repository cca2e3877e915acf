/** Servers that do not answer, while what was lost is put back: nobody waits for what they have, and it follows later. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isRetryable } from '../redis/retryable.ts';
import type { RebuilderOptions } from './index.ts';

/** A server that has not answered a look by then is away. */
const AWAY_MS = 500;
/** It is looked at again about so often, and for so long. */
const BACK_EVERY_MS = 1_000;
const BACK_WITHIN_MS = 60_000;

type Parts = Pick<RebuilderOptions, 'store' | 'keys'>;

/**
 * Resolves when the servers of all these partitions answer: with whether some did not. `now`: called first with the partitions
 * of those.
 */
export async function untilBack(
  parts: Parts,
  partitions: readonly number[],
  now: (away: ReadonlySet<number>) => Promise<void>,
): Promise<boolean> {
  const until = performance.now() + BACK_WITHIN_MS;
  let waited = false;
  for (let away = await awayOf(parts, partitions); away.size > 0; away = await awayOf(parts, partitions)) {
    if (!waited) await now(away);
    if (performance.now() > until) throw new Error('servers that have some of it do not answer');
    waited = true;
    await sleep(BACK_EVERY_MS * (0.5 + Math.random()), undefined, { ref: false });
  }
  return waited;
}

async function awayOf({ store, keys }: Parts, partitions: readonly number[]): Promise<Set<number>> {
  const answers = async (p: number) => {
    try {
      const look = store.command.exists(keys.born(p)).then(() => true);
      return await Promise.race([look, sleep(AWAY_MS, false, { ref: false })]);
    } catch (error) {
      if (!isRetryable(error)) throw error;
      return false;
    }
  };
  const answered = await Promise.all(partitions.map(answers));
  return new Set(partitions.filter((_, i) => !answered[i]));
}
