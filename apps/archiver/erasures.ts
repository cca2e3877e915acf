/**
 * Works erasures off. What there is to do is in Redis (`erasures:{u}`, `erasure:{u}:<user>`), each step can be repeated, and
 * the one that ends it comes last: whoever has the partition's lease goes on after a crash.
 *
 * 1. The user leaves their groups, their blocks end, their push tokens go.
 * 2. The ends of all logs are noted. Until fan-out and archiver have passed them nothing of the user's is final: an entry
 *    behind them would bring text into the archive, or an event into the inbox, after they were emptied.
 * 3. Others' blocks of the user end, and it is waited until the archive knows of no block and no token any more.
 * 4. What the user wrote up to those ends is erased in the archive, written as if right after them: no replay of the log
 *    wins over it. The channels' keys forget the user, and last the user's own keys go.
 *
 * Meanwhile nobody acts as the user (attach.lua, apps/gateway/erasing.ts), so what was noted in step 2 is all there is.
 */
import { v1 } from 'uuid';
import type { Archive } from '../../lib/archive/index.ts';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { Rebuilder } from '../../lib/rebuild/index.ts';
import type { AccountVerbs } from '../../lib/redis/account-verbs.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import { compareIds, maxId, msOf, ZERO } from '../../lib/redis/ids.ts';
import type { PushVerbs } from '../../lib/redis/push-verbs.ts';
import type { Verbs } from '../../lib/redis/verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';

export interface ErasureParts {
  store: RedisStore;
  keys: Keyspace;
  verbs: Verbs;
  accounts: AccountVerbs;
  push: PushVerbs;
  archive: Archive;
  /** A group that was lost is left all the same. */
  rebuild: Rebuilder;
  logger: Logger;
  /** The partitions that are this worker's. */
  held: ReadonlySet<number>;
}

export class Erasures {
  readonly #o: ErasureParts;
  #stopped = false;

  constructor(parts: ErasureParts) {
    this.#o = parts;
  }

  /** One look at what is to be done; an erasure that has to wait is looked at again the next time. */
  async look(): Promise<void> {
    const { store, keys, held, logger } = this.#o;
    const waiting = await Promise.all(
      [...held].map(async (p) => [p, await store.command.smembers(keys.erasures(p))] as const),
    );
    for (const [p, users] of waiting) {
      for (const user of users) {
        if (this.#stopped || !held.has(p)) return;
        try {
          await this.#step(user);
        } catch (error) {
          logger.warn({ err: error, user }, 'an erasure came no further, trying again');
        }
      }
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  async #step(user: string): Promise<void> {
    const { store, keys } = this.#o;
    const key = keys.erasure(user);
    const [state, since, noted] = await store.command.hmget(key, 'state', 'since', 'ends');
    if (state !== 'running' || !since)
      return void (await store.command.srem(keys.erasures(keys.partitionOf(user)), user));
    if (!noted) {
      await this.#withdraw(user);
      const ends = await this.#endsOfLogs();
      // Not into an erasure that has ended meanwhile, worked off by another worker.
      if ((await store.command.hget(key, 'since')) === since) await store.command.hset(key, 'ends', ends.join(' '));
      return;
    }
    const ends = noted.split(' ');
    if (!(await this.#passed(ends))) return;
    await this.#unblock(user);
    if (await this.#isWithdrawn(user)) await this.#erase(user, Number(since), ends);
    else await this.#closeAccount(user);
  }

  /** From groups, blocks and tokens. */
  async #withdraw(user: string): Promise<void> {
    const { verbs, rebuild } = this.#o;
    const actor = { user, service: false };
    for (const channel of await this.#channelsOf(user)) {
      await rebuild.channel(channel);
      if (channel.startsWith('g:')) await verbs.removeMember(channel, actor, [v1(), v1()], user);
    }
    await this.#closeAccount(user);
  }

  /** The archive loses it as it came, by `unsaved:{p}`. */
  async #closeAccount(user: string): Promise<void> {
    const { store, keys, accounts, push, archive } = this.#o;
    const archived = await archive.account(user);
    for (const other of new Set([...(await accounts.blocks(user)), ...archived.blocks])) {
      await accounts.unblock(user, other);
    }
    const fields = await store.command.hkeys(keys.devices(user));
    const pushable = fields.filter((field) => field.startsWith('push:')).map((field) => field.slice('push:'.length));
    const devices = new Set([...pushable, ...archived.devices.map(({ device }) => device)]);
    for (const device of devices) await push.forgetDevice(user, device);
  }

  /** Others' blocks were meant for who is gone, not for whoever has the id next. */
  async #unblock(user: string): Promise<void> {
    const { archive, accounts } = this.#o;
    const { blockedBy } = await archive.account(user);
    for (const other of new Set([...(await accounts.blockedBy(user)), ...blockedBy]))
      await accounts.unblock(other, user);
  }

  async #isWithdrawn(user: string): Promise<boolean> {
    const { devices, blocks, blockedBy } = await this.#o.archive.account(user);
    return devices.length + blocks.length + blockedBy.length === 0;
  }

  async #channelsOf(user: string): Promise<string[]> {
    const { store, keys, archive } = this.#o;
    const [conversations, archived] = await Promise.all([
      store.command.hkeys(keys.conversations(user)),
      archive.channelsOf(user),
    ]);
    return [...new Set([...conversations, ...archived])];
  }

  /** By partition; `0-0` of a log that holds nothing. */
  async #endsOfLogs(): Promise<string[]> {
    const { store, keys } = this.#o;
    return Promise.all(
      Array.from({ length: keys.partitions }, async (_, p) => {
        const [last] = await store.command.xrevrange(keys.log(p), '+', '-', 'COUNT', 1);
        return last?.[0] ?? ZERO;
      }),
    );
  }

  async #passed(ends: readonly string[]): Promise<boolean> {
    const { store, keys } = this.#o;
    const passed = ends.map(async (end, p) => {
      if (end === ZERO) return true;
      const positions = await store.command.hmget(keys.positions(p), 'fanout', 'archiver');
      return positions.every((position) => compareIds(position ?? ZERO, end) >= 0);
    });
    return (await Promise.all(passed)).every(Boolean);
  }

  async #erase(user: string, since: number, ends: readonly string[]): Promise<void> {
    const { keys, archive, accounts, logger } = this.#o;
    const started = performance.now();
    const endOf = (channel: string) => ends[keys.partitionOf(channel)] ?? ZERO;
    const buckets = await archive.sentIn(user);
    for (const where of buckets) {
      if (this.#stopped) return;
      // Of a log that was empty by then everything had been trimmed, so it is older than the erasure.
      await archive.erase(user, where, maxId(endOf(where.channel), `${since}-0`));
    }
    const channels = new Set([...(await this.#channelsOf(user)), ...buckets.map(({ channel }) => channel)]);
    for (const channel of channels) {
      await accounts.eraseFromChannel(user, channel, Math.max(since, msOf(endOf(channel))));
    }
    await archive.forgetChannels(user, [...ends, `${since}-0`].reduce(maxId));
    if (!(await accounts.finishErasure(user, since))) return;
    const seconds = (performance.now() - started) / 1000;
    logger.info({ user, buckets: buckets.length, channels: channels.size, seconds }, 'a user was erased');
  }
}
