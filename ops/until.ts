import { setTimeout as sleep } from 'node:timers/promises';

/** Polls until the condition holds; fails with `what` and the last value after the deadline. */
export async function until<T>(
  what: string,
  deadlineMs: number,
  look: () => Promise<T> | T,
  holds: (value: T) => boolean = Boolean,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const value = await look();
    if (holds(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`not within ${deadlineMs} ms: ${what}; last seen: ${JSON.stringify(value)?.slice(0, 2_000)}`);
    }
    await sleep(50);
  }
}
