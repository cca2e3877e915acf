import type { Logger } from '../telemetry/logger.ts';

/** Does something again and again, `everyMs` after it was done last; a failure is logged. Returns how to end that. */
export function repeat(name: string, everyMs: number, logger: Logger, work: () => Promise<void>): () => void {
  let timer: NodeJS.Timeout;
  let stopped = false;
  const again = () => {
    timer = setTimeout(async () => {
      await work().catch((error: unknown) => logger.warn({ err: error }, `${name} failed, trying again`));
      if (!stopped) again();
    }, everyMs);
  };
  again();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
