/** Limits of what is rare, counted in Redis for the whole deployment: one call each time. */
import { isIP, isIPv4 } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { Config } from '../../lib/config/index.ts';
import type { LimitVerbs } from '../../lib/redis/limit-verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import { tooFast } from './limits.ts';

/** Addresses over their limit, kept so that a flood costs Redis nothing. */
const REFUSED_ADDRESSES = 10_000;

export class RareLimits {
  readonly #verbs: LimitVerbs;
  readonly #pace: Config['pace'];
  readonly #logger: Logger;
  /** Address → until when it is refused without asking, in monotonic ms. */
  readonly #refused = new LRUCache<string, number>({ max: REFUSED_ADDRESSES });

  constructor(verbs: LimitVerbs, { pace }: Pick<Config, 'pace'>, logger: Logger) {
    this.#verbs = verbs;
    this.#pace = pace;
    this.#logger = logger;
  }

  /** A direct channel is about to be begun by this user. Throws `rate_limited`. */
  async newChannel(user: string): Promise<void> {
    const wait = await this.#verbs.newChannel(user, this.#pace.newChannelsPerHour);
    if (wait > 0) throw tooFast('too many new direct channels', wait);
  }

  /** A client wants a connection. Throws `rate_limited`; a store that does not answer refuses nobody. */
  async newConnection(ip: string): Promise<void> {
    const { connectionsPerMin } = this.#pace;
    if (connectionsPerMin === 0) return;
    const address = networkOf(ip);
    if (address === undefined) return;
    const now = performance.now();
    let wait = (this.#refused.get(address) ?? 0) - now;
    if (wait <= 0) {
      try {
        wait = await this.#verbs.newConnection(address, connectionsPerMin);
      } catch (error) {
        this.#logger.debug({ err: error }, 'counting connections failed: let in');
        return;
      }
      if (wait > 0) this.#refused.set(address, now + wait);
    }
    if (wait > 0) throw tooFast('too many connections', Math.ceil(wait));
  }
}

/**
 * Whom a connection is counted for: an IPv4 address, or the /64 of an IPv6 one, of which a host has all. Undefined for
 * loopback, which has no limit. What a proxy forwarded and is no address counts together.
 */
export function networkOf(ip: string): string | undefined {
  const plain = ip.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (isIPv4(plain)) return plain.startsWith('127.') ? undefined : plain;
  if (isIP(plain) === 0) return 'unknown';
  if (plain === '::1') return undefined;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  const all = [...groups, ...Array.from({ length: missing }, () => '0'), ...(tail ? tail.split(':') : [])];
  const network = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}
