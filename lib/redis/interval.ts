/**
 * From one read or call of a busy lane to the next. A wake costs Redis and Node more than an entry does (design §5), so it
 * grows with what the last one brought: 4 ms in a moderate stream, 12 ms when a core is well loaded. It counts from the
 * beginning: what the handling takes is waited for anyway, and a lane that is late goes on at once.
 */
export function busyIntervalMs(entries: number): number {
  return Math.min(12, 4 + entries / 3);
}
