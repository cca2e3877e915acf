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
 * The list comes back after a floor too: a partition of users that lost more than the logs still hold has lost the ends of
 * their lists, and what the logs no longer hold is archived.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Archive } from '../archive/archive.ts';
import type { Keyspace } from '../keyspace/index.ts';
import { MillraceError } from '../protocol/errors.ts';
import type { RedisStore } from '../redis/connect.ts';
import { compareIds, ZERO } from '../redis/ids.ts';
import { NOTHING, RebuildVerbs } from '../redis/rebuild-verbs.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Accounts } from './accounts.ts';
import { keysOf } from './channel.ts';
import { type Head, Lists } from './lists.ts';

/** Of a channel's end: what client ids, watermarks and unread messages are read off. */
const ROWS = 200;
/** Somebody waits for it; the fetch itself goes on. */
const PATIENCE_MS = 5_000;
const RETRY_AFTER_MS = 1_000;
/** While another process finds out how often a partition was lost. */
const LOOK_AGAIN_MS = 50;

export interface RebuilderOptions {
  store: RedisStore;
  keys: Keyspace;
  archive: Archive;
  metrics: Metrics;
  logger: Logger;
}

/** For what is put back with direct channels or groups. */
export interface PartsOptions extends RebuilderOptions {
  verbs: RebuildVerbs;
  /** Puts a channel back that is missing. */
  channel: (channel: string) => Promise<unknown>;
}

/** `here`: ask again · `absent`: the archive has no such channel either · `born`: what is missing is new. */
export type Found = 'here' | 'absent' | 'born';

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
  readonly #lists: Lists;
  readonly #ofAccounts: Accounts;
  readonly #channels = new Map<string, Promise<Found>>();
  readonly #users = new Map<string, { missing: Promise<readonly Head[]>; whole: Promise<void> }>();
  readonly #accounts = new Map<string, Promise<void>>();
  readonly #losses = new Map<number, Promise<number>>();
  readonly #claim = `claimed by ${randomUUID()}`;

  constructor(options: RebuilderOptions) {
    this.#o = options;
    this.#verbs = new RebuildVerbs(options.store.command, options.keys);
    const parts = { ...options, verbs: this.#verbs, channel: (channel: string) => this.channel(channel) };
    this.#lists = new Lists(parts);
    this.#ofAccounts = new Accounts(parts);
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

  /**
   * Puts the user's push tokens and blocks back, if they are lost; direct channels of servers that are away follow. Throws
   * MillraceError `unavailable` likewise.
   */
  account(user: string): Promise<void> {
    return this.#patiently(user, this.#restoringAccount(user));
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
    const restored = this.#lists.restore(user, resolve).finally(() => this.#users.delete(user));
    const whole = Promise.all([restored, this.account(user)]).then(() => undefined);
    whole.then(() => resolve([]), reject);
    missing.catch(() => undefined); // told by `whole` too
    const restoring = { missing, whole };
    this.#users.set(user, restoring);
    return restoring;
  }

  #restoringAccount(user: string): Promise<void> {
    const running = this.#accounts.get(user);
    if (running) return running;
    const { promise: atOnce, resolve, reject } = Promise.withResolvers<void>();
    this.#accounts.set(user, atOnce);
    void this.#ofAccounts
      .restore(user, resolve)
      .then(resolve, (error: unknown) => {
        this.#o.logger.warn({ err: error, user }, 'not all that says of blocks is put back: the next call tries again');
        reject(error);
      })
      .finally(() => this.#accounts.delete(user));
    return atOnce;
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
