/**
 * A user's push tokens and blocks, put back as the archive has them, with the direct channels that say of the blocks.
 *
 * A server that does not answer keeps nobody out: tokens and blocks are there at once, and the direct channels that it has
 * when it is back. `account` of `devices:{u}:<user>` says how far that is: `0` tokens and blocks, `1` all of it.
 */
import pLimit from 'p-limit';
import { directChannel } from '../protocol/ids.ts';
import { untilBack } from './away.ts';
import type { PartsOptions } from './index.ts';

/** Of one user, at once. */
const CHANNELS_AT_ONCE = 8;

export class Accounts {
  readonly #o: PartsOptions;

  constructor(options: PartsOptions) {
    this.#o = options;
  }

  /** `atOnce`: called when servers are away, and all that the others have is put. */
  async restore(user: string, atOnce: () => void): Promise<void> {
    const { store, keys, archive, metrics, verbs } = this.#o;
    const [born, restored] = await Promise.all([
      store.command.exists(keys.born(keys.partitionOf(user))),
      store.command.hget(keys.devices(user), 'account'),
    ]);
    if (born || restored === '1') return;
    const account = await archive.account(user);
    // Where presence and typing are looked up: there need be no message between the two.
    const others = new Set([...account.blocks, ...account.blockedBy]);
    const channels = [...others].map((other) => directChannel(user, other));
    const partitions = [...new Set(channels.map((channel) => keys.partitionOf(channel)))];
    await untilBack(this.#o, partitions, async (away) => {
      await this.#restoreChannels(channels.filter((channel) => !away.has(keys.partitionOf(channel))));
      await verbs.restoreAccount(user, account, false);
      atOnce();
    });
    // All of them again: what was put may have been lost once more.
    await this.#restoreChannels(channels);
    if (await verbs.restoreAccount(user, account, true)) metrics.rebuilt.of('account').inc();
  }

  async #restoreChannels(channels: readonly string[]): Promise<void> {
    const admit = pLimit(CHANNELS_AT_ONCE);
    await Promise.all(channels.map((channel) => admit(() => this.#o.channel(channel))));
  }
}
