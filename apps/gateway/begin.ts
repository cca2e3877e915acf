/** At the start: partitions that have nothing to lose are marked as such, so that what is missing there is new. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { GatewayContext } from './context.ts';

/** An archive that is away does not keep a gateway from starting; until it answers no channel can begin. */
const PATIENCE_MS = 3_000;
const AGAIN_MS = 2_000;

/** Resolves when it is done, or after a while, and then goes on; returns how to stop it. */
export async function beginPartitions({ rebuild, logger }: GatewayContext): Promise<() => void> {
  const stopped = new AbortController();
  const { signal } = stopped;
  const work = async () => {
    while (!signal.aborted) {
      try {
        return await rebuild.begin();
      } catch (error) {
        logger.warn(
          { err: error },
          'whether the archive is empty could not be read: until it is, no channel can begin',
        );
        await sleep(AGAIN_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  };
  await Promise.race([work(), sleep(PATIENCE_MS, undefined, { signal }).catch(() => undefined)]);
  return () => stopped.abort();
}
