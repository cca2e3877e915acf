/**
 * So many calls to the store at once, and no more. Partitions that one command may touch share their slots; others have
 * their own, so a server that does not answer uses up those of its partitions, and nobody waits behind it elsewhere.
 */
import pLimit, { type LimitFunction } from 'p-limit';
import type { GatewayContext } from './context.ts';

/** Of one partition, however many there are. */
const LEAST = 8;

export class Slots {
  readonly #keys: GatewayContext['keys'];
  readonly #limitOf: LimitFunction[] = [];

  /** `most`: of all partitions together, as long as each has some. */
  constructor({ store, keys }: Pick<GatewayContext, 'store' | 'keys'>, most: number) {
    this.#keys = keys;
    const groups = store.groups(Array.from({ length: keys.partitions }, (_, p) => p));
    for (const group of groups) {
      const limit = pLimit(Math.max(LEAST, Math.ceil(most / groups.length)));
      for (const p of group) this.#limitOf[p] = limit;
    }
  }

  /** `call` touches keys of this user. */
  async run<T>(user: string, call: () => Promise<T>): Promise<T> {
    const limit = this.#limitOf[this.#keys.partitionOf(user)];
    return limit ? limit(call) : call();
  }
}
