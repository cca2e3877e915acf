/**
 * Wakes the devices of users whose push tokens Redis had lost: the first message to one of them finds no token, is delivered
 * all the same, and makes that the tokens are put back from the archive; then its wake-up is queued. Nobody's delivery waits
 * for that. What cannot be read, because the archive is away, is tried again by the next message.
 */
import pLimit from 'p-limit';
import type { Rebuilder } from '../../lib/rebuild/index.ts';
import type { Lost } from '../../lib/redis/delivery.ts';
import type { PushVerbs } from '../../lib/redis/push-verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';

const AT_ONCE = 32;
/** While the archive is slow: what comes beyond this wakes nobody. */
const MOST_WAITING = 10_000;

export interface LateWakeupParts {
  rebuild: Rebuilder;
  push: PushVerbs;
  logger: Logger;
}

export class LateWakeups {
  readonly #o: LateWakeupParts;
  readonly #admit = pLimit(AT_ONCE);
  #stopped = false;

  constructor(parts: LateWakeupParts) {
    this.#o = parts;
  }

  add(lost: readonly Lost[]): void {
    for (const one of lost) {
      if (this.#admit.pendingCount < MOST_WAITING) void this.#admit(() => this.#wake(one));
    }
  }

  async #wake({ user, fields }: Lost): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.#o.rebuild.account(user);
      await this.#o.push.wakeLate(user, fields);
    } catch (error) {
      this.#o.logger.warn({ err: error, user }, 'nobody was woken for a message: push tokens could not be read back');
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#admit.clearQueue();
  }
}
