/**
 * Waiting for the archive is not standing still: a driver's time-outs and retries, or a store that is slow under its
 * load, take longer than a worker may go without a sign of life. So the sign is given while one write is under way, and
 * no longer than `atMostMs`: a write that never settles must not look healthy.
 */
export async function withSigns<T>(work: Promise<T>, sign: () => void, everyMs: number, atMostMs: number): Promise<T> {
  const until = performance.now() + atMostMs;
  const timer = setInterval(() => {
    if (performance.now() < until) sign();
    else clearInterval(timer);
  }, everyMs);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    sign();
  }
}
