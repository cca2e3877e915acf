/**
 * A user's conversation list, put back mark by mark: each is read off the channel, and off what the archive has of its end.
 *
 * A server that does not answer keeps nobody out: who comes gets the marks of the channels that the others have, and the
 * heads of the rest as far as the archive knows them; the list is whole when that server is back.
 */
import pLimit from 'p-limit';
import { untilBack } from './away.ts';
import { markOf } from './conversation.ts';
import type { PartsOptions } from './index.ts';

/** Of a channel's end: what unread messages are counted in. */
const ROWS = 200;
/** Of one user, at once. */
const CHANNELS_AT_ONCE = 8;
const MARKS_PER_CALL = 100;
const RESTORE_ATTEMPTS = 5;

export interface Head {
  channel: string;
  last_seq: number;
}

export class Lists {
  readonly #o: PartsOptions;

  constructor(options: PartsOptions) {
    this.#o = options;
  }

  /** `atOnce`: called with what is still missing, if servers are away, when the rest is put. */
  async restore(user: string, atOnce: (missing: readonly Head[]) => void): Promise<void> {
    const { archive, keys, metrics } = this.#o;
    let { floor, channels } = await this.#outline(user);
    const partitions = [...new Set(channels.map((channel) => keys.partitionOf(channel)))];
    const waited = await untilBack(this.#o, partitions, async (away) => {
      const [there, missing] = [false, true].map((is) =>
        channels.filter((channel) => away.has(keys.partitionOf(channel)) === is),
      ) as [string[], string[]];
      await this.#put(user, there, null, false);
      const heads = missing.map(async (channel) => ({ channel, last_seq: await archive.lastSeq(channel) }));
      atOnce((await Promise.all(heads)).filter((head) => head.last_seq > 0));
    });
    // All of it again: what was put may have been lost once more.
    if (waited) ({ floor, channels } = await this.#outline(user));
    await this.#put(user, channels, floor, true);
    metrics.rebuilt.of('user').inc();
  }

  /** The floor first: a later one is another loss. */
  async #outline(user: string): Promise<{ floor: string | null; channels: string[] }> {
    const { archive, store, keys } = this.#o;
    const floor = await store.command.hget(keys.cursor(keys.partitionOf(user)), 'floor');
    const [archived, listed] = await Promise.all([
      archive.channelsOf(user),
      store.command.hkeys(keys.conversations(user)),
    ]);
    return { floor, channels: [...new Set([...archived, ...listed])] };
  }

  /** `whole`: then that is all of them. */
  async #put(user: string, channels: readonly string[], floor: string | null, whole: boolean): Promise<void> {
    const admit = pLimit(CHANNELS_AT_ONCE);
    for (let attempt = 1; ; attempt++) {
      const found = await Promise.all(channels.map((channel) => admit(() => this.#markOf(channel, user))));
      const marks = found.filter((mark) => mark !== undefined);
      let moved = 0;
      for (let i = 0; i === 0 || i < marks.length; i += MARKS_PER_CALL) {
        const complete = whole && moved === 0 && i + MARKS_PER_CALL >= marks.length;
        moved += await this.#o.verbs.restore(user, marks.slice(i, i + MARKS_PER_CALL), complete, floor);
      }
      if (moved === 0) break;
      if (attempt === RESTORE_ATTEMPTS)
        throw new Error(`the conversations of ${user} change faster than they are read`);
    }
  }

  async #markOf(channel: string, user: string) {
    const { store, keys, archive } = this.#o;
    await this.#o.channel(channel);
    const rows = await archive.page(channel, { limit: ROWS, order: 'newest' });
    const direct = channel.startsWith('dm:');
    const { command } = store;
    const [mark, receipt, member] = await Promise.all([
      command.hget(keys.conversations(user), channel),
      direct ? command.hget(keys.channel(channel), `receipt:${user}`) : command.hget(keys.receipts(channel), user),
      direct ? undefined : command.hget(keys.members(channel), user),
    ]);
    return markOf(channel, user, rows, { mark, receipt, member });
  }
}
