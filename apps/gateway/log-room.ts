/**
 * Back-pressure: what is accepted while the workers or the archive are away has a bound. Beyond it sends are `unavailable`,
 * nothing is stored, and it ends by itself when the log has been worked off and trimmed.
 *
 * A log's size is read at most once a second, and only of logs that are written to: a look inside append.lua would cost
 * each message one more command, and each refusal a round trip to a store that is full. So a log may grow beyond the bound
 * by what comes in about a second; where memory itself ends, Redis refuses writes, which is answered the same way.
 */
import type { Keyspace } from '../../lib/keyspace/index.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import { type LogBounds, logFill } from '../../lib/redis/log-size.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';

const LOOK_EVERY_MS = 1000;
const RETRY_MS = 2000;

interface Options {
  store: RedisStore;
  keys: Keyspace;
  config: LogBounds;
  metrics: Metrics;
}

export class LogRoom {
  readonly #o: Options;
  /** By partition: when its log was last looked at, and whether it was full. */
  readonly #lookedAt: number[] = [];
  readonly #full: boolean[] = [];

  constructor(options: Options) {
    this.#o = options;
  }

  /** Something is about to be appended for this channel. Throws `unavailable` when its log is full. */
  check(channel: string): void {
    const p = this.#o.keys.partitionOf(channel);
    const now = performance.now();
    if (now - (this.#lookedAt[p] ?? Number.NEGATIVE_INFINITY) >= LOOK_EVERY_MS) {
      this.#lookedAt[p] = now;
      void this.#look(p);
    }
    if (!this.#full[p]) return;
    throw new MillraceError('unavailable', 'too much waits to be delivered or archived, try again', {
      retryAfterMs: RETRY_MS,
    });
  }

  async #look(p: number): Promise<void> {
    const { store, keys, config, metrics } = this.#o;
    try {
      const fill = await logFill(store.command, keys.log(p), config);
      this.#full[p] = fill >= 1;
      metrics.logFill.of(String(p)).set(fill);
    } catch {
      // A store that does not answer refuses the append itself; what was known holds until the next look.
      metrics.retries.of('log_length').inc();
    }
  }
}
