/**
 * A user's conversation list, put back mark by mark: each is read off the channel, and off what the archive has of its end.
 *
 * A server that does not answer keeps nobody out: who comes gets the marks of the channels that the others have, and the
 * heads of the rest as far as the archive knows them; the list is whole when that server is back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { RebuildVerbs } from '../redis/rebuild-verbs.ts';
import { isRetryable } from '../redis/retryable.ts';
import { markOf } from './conversation.ts';
import type { RebuilderOptions } from './index.ts';

/** Of a channel's end: what unread messages are counted in. */
const ROWS = 200;
/** Of one user, at once. */
const CHANNELS_AT_ONCE = 8;
const MARKS_PER_CALL = 100;
const RESTORE_ATTEMPTS = 5;
/** A server that has not answered a look by then is away: nobody waits for what it has. */
const AWAY_MS = 500;
/** It is looked at again about so often, and for so long. */
const BACK_EVERY_MS = 1_000;
const BACK_WITHIN_MS = 60_000;

export interface Head {
  channel: string;
  last_seq: number;
}

export interface ListsOptions extends RebuilderOptions {
  verbs: RebuildVerbs;
  /** Puts a channel back that is missing. */
  channel: (channel: string) => Promise<unknown>;
}

export class Lists {
  readonly #o: ListsOptions;

  constructor(options: ListsOptions) {
    this.#o = options;
  }

  /** `atOnce`: called with what is still missing, if servers are away, when the rest is put. */
  async restore(user: string, atOnce: (missing: readonly Head[]) => void): Promise<void> {
    const { archive, keys, metrics } = this.#o;
    let { floor, channels } = await this.#outline(user);
    const partitions = [...new Set(channels.map((channel) => keys.partitionOf(channel)))];
    const until = performance.now() + BACK_WITHIN_MS;
    let waited = false;
    for (let away = await this.#away(partitions); away.size > 0; away = await this.#away(partitions)) {
      if (!waited) {
        const [there, missing] = [false, true].map((is) =>
          channels.filter((channel) => away.has(keys.partitionOf(channel)) === is),
        ) as [string[], string[]];
        await this.#put(user, there, null, false);
        const heads = missing.map(async (channel) => ({ channel, last_seq: await archive.lastSeq(channel) }));
        atOnce((await Promise.all(heads)).filter((head) => head.last_seq > 0));
      }
      if (performance.now() > until) throw new Error(`servers that have channels of ${user} do not answer`);
      waited = true;
      await sleep(BACK_EVERY_MS * (0.5 + Math.random()), undefined, { ref: false });
    }
    // All of it again: what was put may have been lost once more.
    if (waited) ({ floor, channels } = await this.#outline(user));
    await this.#put(user, channels, floor, true);
    metrics.rebuilt.of('user').inc();
  }

  /** Those whose server does not answer. */
  async #away(partitions: readonly number[]): Promise<Set<number>> {
    const { store, keys } = this.#o;
    const answers = async (p: number) => {
      try {
        const look = store.command.exists(keys.born(p)).then(() => true);
        return await Promise.race([look, sleep(AWAY_MS, false, { ref: false })]);
      } catch (error) {
        if (!isRetryable(error)) throw error;
        return false;
      }
    };
    const answered = await Promise.all(partitions.map(answers));
    return new Set(partitions.filter((_, i) => !answered[i]));
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
