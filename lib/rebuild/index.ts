/**
 * Redis lost everything, or a primary came back empty: what it held is read back from the archive when it is missed.
 *
 * `born:{p}` says that a partition began on an empty archive; what is missing there is new, and costs no archive read. A
 * partition without it is *rebuilding*: a missing channel is read from the archive, by one fetch at a time, and set only
 * if it is still missing. Its sequence goes on above a multiple of 2^20 that is beyond all before, since what was accepted
 * and not archived had the numbers below; history has nothing there, which makes them void. So that it is another one when
 * Redis is lost again before any of it was archived, the archive keeps how often a partition was lost. A user's conversation list comes back with
 * their first hello, or when they ask for it; their blocks and push tokens too, or when they are to be told of something
 * or change any of it. A direct channel comes back with its blocks, whether or not it had begun.
 *
 * A server that does not answer keeps nobody out: who comes gets the marks of the channels that the others have, and the
 * heads of the rest as far as the archive knows them; the list is whole when that server is back.
 *
 * The list comes back after a floor too: a partition of users that lost more than the logs still hold has lost the ends of
 * their lists, and what the logs no longer hold is archived.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Archive } from '../archive/archive.ts';
import type { Keyspace } from '../keyspace/index.ts';
import { MillraceError } from '../protocol/errors.ts';
import { directChannel } from '../protocol/ids.ts';
import type { RedisStore } from '../redis/connect.ts';
import { compareIds, ZERO } from '../redis/ids.ts';
import { NOTHING, RebuildVerbs } from '../redis/rebuild-verbs.ts';
import { isRetryable } from '../redis/retryable.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { keysOf } from './channel.ts';
import { markOf } from './conversation.ts';

/** Of a channel's end: what client ids, watermarks and unread messages are read off. */
const ROWS = 200;
/** Of one user, at once. */
const CHANNELS_AT_ONCE = 8;
const MARKS_PER_CALL = 100;
const RESTORE_ATTEMPTS = 5;
/** Somebody waits for it; the fetch itself goes on. */
const PATIENCE_MS = 5_000;
const RETRY_AFTER_MS = 1_000;
/** A server that has not answered a look by then is away: nobody waits for what it has. */
const AWAY_MS = 500;
/** It is looked at again about so often, and for so long. */
const BACK_EVERY_MS = 1_000;
const BACK_WITHIN_MS = 60_000;
/** While another process finds out how often a partition was lost. */
const LOOK_AGAIN_MS = 50;

export interface RebuilderOptions {
  store: RedisStore;
  keys: Keyspace;
  archive: Archive;
  metrics: Metrics;
  logger: Logger;
}

/** `here`: ask again · `absent`: the archive has no such channel either · `born`: what is missing is new. */
export type Found = 'here' | 'absent' | 'born';

export interface Head {
  channel: string;
  last_seq: number;
}

/** A list that is being put back. */
export interface Restoring {
  /** What of it is still missing, as the archive knows it: servers that are away have the rest. */
  missing: readonly Head[];
  /** Settles when nothing is missing any more. */
  whole: Promise<void>;
}

export class Rebuilder {
  readonly #o: RebuilderOptions;
  readonly #verbs: RebuildVerbs;
  readonly #channels = new Map<string, Promise<Found>>();
  readonly #users = new Map<string, { missing: Promise<readonly Head[]>; whole: Promise<void> }>();
  readonly #accounts = new Map<string, Promise<void>>();
  readonly #losses = new Map<number, Promise<number>>();
  readonly #claim = `claimed by ${randomUUID()}`;

  constructor(options: RebuilderOptions) {
    this.#o = options;
    this.#verbs = new RebuildVerbs(options.store.command, options.keys);
  }

  /** Marks every partition that has nothing to lose. Rejects while the archive does not answer. */
  async begin(): Promise<void> {
    const { store, keys, archive } = this.#o;
    const all = Array.from({ length: keys.partitions }, (_, p) => keys.born(p));
    const born = await Promise.all(all.map((key) => store.command.exists(key)));
    const missing = all.filter((_, p) => born[p] === 0);
    if (missing.length === 0 || !(await archive.isEmpty())) return;
    await Promise.all(missing.map((key) => store.command.set(key, String(Date.now()), 'NX')));
  }

  /** For a channel that is missing. Throws MillraceError `unavailable` when the archive does not answer. */
  channel(channel: string): Promise<Found> {
    return this.#once(this.#channels, channel, () => this.#findChannel(channel));
  }

  /**
   * Does what `atOnce` does where the user's partition has a floor that the list is behind of. Before the user is told of a
   * gap: the list says what there is to be filled.
   */
  async afterFloor(user: string): Promise<Restoring | undefined> {
    const { store, keys } = this.#o;
    const [floor, reached] = await Promise.all([
      store.command.hget(keys.cursor(keys.partitionOf(user)), 'floor'),
      store.command.hget(keys.devices(user), 'floor'),
    ]);
    return isBehind(reached, floor) ? this.atOnce(user) : undefined;
  }

  /** Puts the user's push tokens and blocks back, if they are lost. Throws MillraceError `unavailable` likewise. */
  account(user: string): Promise<void> {
    return this.#once(this.#accounts, user, () => this.#restoreAccount(user));
  }

  /**
   * Puts the user's conversation list back, and what `account` does. Throws MillraceError `unavailable` when the archive, or a
   * server that has some of it, does not answer.
   */
  user(user: string): Promise<void> {
    return this.#patiently(user, this.#restoring(user).whole);
  }

  /** The same as far as it can be done now. Throws MillraceError `unavailable` when the archive does not answer. */
  async atOnce(user: string): Promise<Restoring> {
    const { missing, whole } = this.#restoring(user);
    const [heads] = await Promise.all([this.#patiently(user, missing), this.account(user)]);
    return { missing: heads, whole };
  }

  #restoring(user: string) {
    const running = this.#users.get(user);
    if (running) return running;
    const { promise: missing, resolve, reject } = Promise.withResolvers<readonly Head[]>();
    const restored = this.#restore(user, resolve).finally(() => this.#users.delete(user));
    const whole = Promise.all([restored, this.account(user)]).then(() => undefined);
    whole.then(() => resolve([]), reject);
    missing.catch(() => undefined); // told by `whole` too
    const restoring = { missing, whole };
    this.#users.set(user, restoring);
    return restoring;
  }

  async #findChannel(channel: string): Promise<Found> {
    const { store, keys, archive, metrics, logger } = this.#o;
    const [born, here] = await Promise.all([
      store.command.exists(keys.born(keys.partitionOf(channel))),
      store.command.hexists(keys.channel(channel), 'seq'),
    ]);
    if (here) return 'here';
    if (born) return 'born';
    const losses = await this.#lossesOf(keys.partitionOf(channel));
    const archived = await archive.channel(channel);
    if (archived.lastSeq === 0) {
      const done = await this.#verbs.rebuild(channel, losses, { ...NOTHING, blockedBy: archived.blockedBy });
      return done === 'lost' ? this.#findChannel(channel) : 'absent';
    }
    const rows = await archive.page(channel, { limit: ROWS, order: 'newest' });
    const done = await this.#verbs.rebuild(channel, losses, keysOf(channel, archived, losses, rows, Date.now()));
    if (done === 'lost') return this.#findChannel(channel);
    if (done === 'rebuilt') {
      metrics.rebuilt.of('channel').inc();
      logger.info({ channel, lastSeq: archived.lastSeq }, 'a channel was rebuilt from the archive');
    }
    return 'here';
  }

  /** One look in flight a partition, however many channels are missed. */
  #lossesOf(partition: number): Promise<number> {
    const running =
      this.#losses.get(partition) ?? this.#countLoss(partition).finally(() => this.#losses.delete(partition));
    this.#losses.set(partition, running);
    return running;
  }

  /** The claim comes before the look at the archive: if it still stands afterwards, no loss has come in between. */
  async #countLoss(partition: number): Promise<number> {
    const { archive } = this.#o;
    for (;;) {
      let losses = await this.#verbs.losses(partition, this.#claim);
      if (losses === 'claimed') {
        const number = (await archive.losses(partition)) + 1;
        await archive.keep([{ kind: 'loss', partition, number }], Date.now() * 1000);
        losses = await this.#verbs.losses(partition, this.#claim, number);
      }
      if (typeof losses === 'number') return losses;
      await sleep(LOOK_AGAIN_MS);
    }
  }

  async #restore(user: string, atOnce: (missing: readonly Head[]) => void): Promise<void> {
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
        moved += await this.#verbs.restore(user, marks.slice(i, i + MARKS_PER_CALL), complete, floor);
      }
      if (moved === 0) break;
      if (attempt === RESTORE_ATTEMPTS)
        throw new Error(`the conversations of ${user} change faster than they are read`);
    }
  }

  async #restoreAccount(user: string): Promise<void> {
    const { store, keys, archive, metrics } = this.#o;
    const [born, restored] = await Promise.all([
      store.command.exists(keys.born(keys.partitionOf(user))),
      store.command.hexists(keys.devices(user), 'account'),
    ]);
    if (born || restored) return;
    const account = await archive.account(user);
    // Where presence and typing are looked up: there need be no message between the two.
    const admit = pLimit(CHANNELS_AT_ONCE);
    const others = new Set([...account.blocks, ...account.blockedBy]);
    await Promise.all([...others].map((other) => admit(() => this.channel(directChannel(user, other)))));
    if (await this.#verbs.restoreAccount(user, account)) metrics.rebuilt.of('account').inc();
  }

  async #markOf(channel: string, user: string) {
    const { store, keys, archive } = this.#o;
    await this.channel(channel);
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

  /** One fetch in flight, however many ask. */
  async #once<T>(under: Map<string, Promise<T>>, name: string, fetch: () => Promise<T>): Promise<T> {
    let running = under.get(name);
    if (!running) {
      running = fetch().finally(() => under.delete(name));
      under.set(name, running);
    }
    return this.#patiently(name, running);
  }

  async #patiently<T>(name: string, running: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    try {
      return await Promise.race([running, tooLong]);
    } catch (error) {
      this.#o.logger.warn({ err: error, name }, 'what was lost could not be read back yet');
      throw new MillraceError('unavailable', 'this is being read back from the archive, try again', {
        retryAfterMs: RETRY_AFTER_MS,
        cause: error,
      });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** `reached`: the floor after which the list was put back. */
export function isBehind(reached: string | null | undefined, floor: string | null | undefined): boolean {
  return !!floor && compareIds(reached ?? ZERO, floor) < 0;
}
