/** What passes through a gateway without being stored: presence and typing. One subscriber hears both. */
import { parseSignal } from '../../lib/redis/signal-verbs.ts';
import type { Subscriber } from '../../lib/redis/subscriber.ts';
import type { GatewayContext } from './context.ts';
import type { Feed } from './feed.ts';
import { Pressure } from './pressure.ts';
import { Typing } from './typing.ts';
import { Watches } from './watches.ts';

export interface SignalTimes {
  /** How often it is looked at again who may see whom; tests have less patience. */
  recheckMs?: number;
}

export class Signals {
  readonly watches: Watches;
  readonly typing: Typing;
  readonly #subscriber: Subscriber;
  readonly #pressure = new Pressure();

  constructor(ctx: GatewayContext, feedOf: (user: string) => Feed | undefined, times: SignalTimes = {}) {
    const { partitions, signal } = ctx.keys;
    const own = new Set(Array.from({ length: partitions }, (_, p) => signal(p, ctx.incarnation)));
    this.#subscriber = ctx.store.subscriber({
      message: (channel, text) => {
        if (!own.has(channel)) return this.watches.heard(channel, text);
        const { users, said, other } = parseSignal(text);
        if (other === undefined) return this.typing.heard(users, said);
        for (const user of users) this.watches.sights.lookAgain(feedOf(user)?.sessions ?? [], other);
      },
      renewed: (channels) => void this.watches.renew(channels),
      failed: (error) => {
        ctx.metrics.retries.of('subscribe').inc();
        ctx.logger.warn({ err: error }, 'subscribing failed, trying again');
      },
    });
    this.watches = new Watches(ctx, this.#subscriber, times.recheckMs);
    this.typing = new Typing(ctx, this.#pressure, feedOf);
    void this.#subscriber.subscribe([...own], 0);
  }

  stop(): void {
    this.watches.stop();
    this.#pressure.stop();
    this.#subscriber.close();
  }
}
