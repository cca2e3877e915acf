import type { Archive } from '../archive/archive.ts';
import type { RedisStore } from '../redis/connect.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Config } from './index.ts';

/** What every app is handed when it starts: nothing in Millrace is global. */
export interface AppContext {
  readonly config: Config;
  readonly store: RedisStore;
  readonly archive: Archive;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** A name for this process, new at each start: it goes into bells, leases and worker lists. */
  readonly incarnation: string;
}

/** A started app. `stop` finishes what is in flight, lets go of leases and connections of its own, and never rejects. */
export interface RunningApp {
  /** `hurry` is aborted when somebody loses patience: whatever waits for others ends then. */
  stop(hurry: AbortSignal): Promise<void>;
}
