/**
 * Sends the pairs' queues to the targets that one command may touch: all of them on a standalone server, one target in a
 * cluster. One call at a time, so the next leaves only after the last one's answer (design, rule 1); a target that does
 * not answer makes nobody else wait, because every group has a sender of its own.
 */

import type { Lost } from '../../lib/redis/delivery.ts';
import { backOff } from '../../lib/redis/follow.ts';
import type { Verbs } from '../../lib/redis/verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';
import type { Pair } from './pair.ts';

/** Recipients per call: at 11 to 18 µs each (design §10) a call holds Redis for about a millisecond. */
const RECIPIENTS_PER_CALL = 64;

export interface SenderOptions {
  verbs: Verbs;
  metrics: Metrics;
  logger: Logger;
  /** What the source has been read to. */
  readTo(source: number): string;
  onLost(lost: readonly Lost[]): void;
  /** The pair has to catch up from its cursor. */
  onBehind(pair: Pair): void;
}

export class Sender {
  /** What it sends was not answered within a round: nobody waits for it until something is. */
  late = false;
  readonly #o: SenderOptions;
  readonly #waiting = new Set<Pair>();
  #draining: Promise<void> | undefined;
  #stopped = false;

  constructor(options: SenderOptions) {
    this.#o = options;
  }

  /** The pair has something to send, or its cursor should be moved by an empty batch. */
  enqueue(pair: Pair): void {
    this.#waiting.add(pair);
  }

  remove(pair: Pair): void {
    this.#waiting.delete(pair);
  }

  /** Resolves when everything that was enqueued has been answered. */
  drain(): Promise<void> {
    if (this.#waiting.size === 0) return this.#draining ?? Promise.resolve();
    this.#draining ??= this.#run();
    return this.#draining;
  }

  get draining(): boolean {
    return this.#draining !== undefined;
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (this.#waiting.size > 0 && !this.#stopped) {
      const pairs: Pair[] = [];
      const blocks = [];
      let budget = RECIPIENTS_PER_CALL;
      for (const pair of this.#waiting) {
        if (budget <= 0) break;
        const { block, recipients } = pair.block(budget, this.#o.readTo(pair.source));
        pairs.push(pair);
        blocks.push(block);
        budget -= Math.max(1, recipients);
      }
      for (const pair of pairs) pair.inFlight = true;
      try {
        const { replies, setAside, written, lost } = await this.#o.verbs.deliver(blocks);
        this.#o.onLost(lost);
        this.#o.metrics.deliverBatch.observe(blocks.reduce((sum, b) => sum + b.deliveries.length, 0));
        this.#o.metrics.inboxWrites.inc(written);
        if (setAside > 0) {
          this.#o.metrics.deadLetters.of('fanout').inc(setAside);
          this.#o.logger.error(
            { setAside, targets: pairs.map((p) => p.target) },
            'users set aside: see dead:{u} for the reason',
          );
        }
        failures = 0;
        this.late = false;
        pairs.forEach((pair, i) => {
          const reply = replies[i]!;
          pair.inFlight = false;
          if (reply.status === 'behind') {
            this.#waiting.delete(pair);
            pair.rewind(reply.cursor);
            this.#o.onBehind(pair);
            return;
          }
          pair.moved(reply.cursor);
          if (reply.status === 'aborted') {
            failures++;
            this.#o.logger.warn(
              { source: pair.source, target: pair.target, reason: reply.error },
              'delivery aborted, repeating',
            );
          }
          // To the end of the line, if there is more: one hot pair must not keep the others waiting. Not a pair whose source
          // was lost meanwhile: if it was gained again, another pair's queue is what `readTo` belongs to.
          this.#waiting.delete(pair);
          if (pair.queued > 0 && !pair.lost) this.#waiting.add(pair);
        });
      } catch (error) {
        for (const pair of pairs) pair.inFlight = false;
        failures++;
        this.#o.logger.warn(
          { err: error, targets: [...new Set(pairs.map((p) => p.target))] },
          'delivery failed, repeating',
        );
      }
      if (failures > 0) {
        this.#o.metrics.retries.of('deliver').inc();
        await backOff(failures);
      }
    }
    // In the same step as the last look: whoever enqueues from now on starts anew.
    this.#draining = undefined;
  }
}
