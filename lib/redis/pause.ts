/**
 * How long a lane that is busy waits before it reads or calls again. A wake costs Redis and Node more than an entry does
 * (design §5), so the pause grows with what the last batch brought: 2 ms in a moderate stream, 8 ms when a core is well
 * loaded.
 */
export function busyPauseMs(entries: number): number {
  return Math.min(8, 2 + entries / 4);
}
