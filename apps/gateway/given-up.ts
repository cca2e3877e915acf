/**
 * What failed for a reason that does not pass (a missing right of Redis, a broken script) is not tried for ever: it is
 * counted, and logged once a minute however often it happens.
 */
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';

const LOG_EVERY_MS = 60_000;

export class GivenUp {
  readonly #parts: { metrics: Metrics; logger: Logger };
  readonly #operation: 'ack' | 'receipt';
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(operation: 'ack' | 'receipt', parts: { metrics: Metrics; logger: Logger }) {
    this.#operation = operation;
    this.#parts = parts;
  }

  count(error: unknown, consequence: string): void {
    const { metrics, logger } = this.#parts;
    metrics.givenUp.of(this.#operation).inc();
    const now = performance.now();
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = now;
    logger.error({ err: error, operation: this.#operation }, `given up: ${consequence}`);
  }
}
