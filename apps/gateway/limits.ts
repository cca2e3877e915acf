/**
 * How fast users may go on this gateway, in its own memory: no call to Redis for what happens all the time.
 *
 * Per gateway on purpose (the protocol says so): a user's sessions are mostly on one, and a shared count would cost every
 * send a round trip. What is rare and has to hold for the whole deployment is counted in Redis: see `rare.ts`.
 */

import { LRUCache } from 'lru-cache';
import type { Config } from '../../lib/config/index.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import { Buckets, Rate } from './buckets.ts';

/** A message to more members than this costs fan-out so much that its channel has a limit of its own (design §10). */
const LARGE_GROUP_MEMBERS = 100;
/** Large groups that are remembered as such: what falls out is noticed again at its next message. */
const LARGE_GROUPS = 10_000;
/** A client that comes back repeats what waits, and the read state of its channels: four seconds' worth at once. */
const FRAMES_BURST_S = 4;

export class SpeedLimits {
  /** Of one session; it keeps the one number itself. */
  readonly frames: Rate;
  readonly #sends: Buckets;
  readonly #groups: Buckets;
  readonly #large = new LRUCache<string, true>({ max: LARGE_GROUPS });

  constructor({ limits, pace }: Pick<Config, 'limits' | 'pace'>) {
    this.frames = new Rate(pace.framesPerS, FRAMES_BURST_S * pace.framesPerS);
    this.#sends = new Buckets(new Rate(limits.sends_per_s, limits.burst));
    this.#groups = new Buckets(new Rate(pace.largeGroupPerS, pace.largeGroupPerS));
  }

  /** Counts one send, edit or delete, whatever becomes of it. Throws `rate_limited`. */
  send(user: string): void {
    const wait = this.#sends.take(user);
    if (wait > 0) throw tooFast('too many messages', wait);
  }

  /** Counts a message to a group, if the group is known to be large. Throws `rate_limited`. */
  group(channel: string): void {
    if (!this.#large.get(channel)) return;
    const wait = this.#groups.take(channel);
    if (wait > 0) throw tooFast('this large group has too many messages', wait);
  }

  /** What the store said of its size at the latest message. */
  groupHas(channel: string, members: number): void {
    if (members <= LARGE_GROUP_MEMBERS) this.#large.delete(channel);
    else if (!this.#large.has(channel)) {
      this.#large.set(channel, true);
      this.#groups.take(channel);
    }
  }

  /** For the `RateLimit-*` headers. */
  sendsLeft(user: string): { limit: number; remaining: number; resetS: number } {
    const { tokens, fullInMs } = this.#sends.left(user);
    return { limit: this.#sends.rate.burst, remaining: tokens, resetS: Math.ceil(fullInMs / 1000) };
  }
}

export function tooFast(what: string, retryAfterMs: number): MillraceError {
  return new MillraceError('rate_limited', `${what}: try again later`, { retryAfterMs });
}
