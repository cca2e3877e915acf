/**
 * What a user decides about themselves. A block is in three places: `blocks:{u}:<user>` says whom a user blocks,
 * `blocked_by:{u}:<other>` the reverse, and the direct channel's hash is what sends are checked against. The sets are written
 * first and cleared last, so they name at least what is enforced: the same call again after a crash in between completes
 * either, and an erasure of one of the two finds all of them. The archive is told of the first, see `unsaved:{p}`. Last of all
 * those who watch are signalled, so that each sees the other no longer, or again, at once.
 */
import { directChannel } from '../protocol/ids.ts';
import { ScriptCaller } from './script-caller.ts';
import { SignalVerbs } from './signal-verbs.ts';
import { BELL_ENTRIES } from './verbs.ts';

export interface Erasure {
  state: 'none' | 'running' | 'done';
  /** Unix ms; null: none. */
  since: number | null;
}

export class AccountVerbs extends ScriptCaller {
  readonly #signals = new SignalVerbs(this.redis, this.keys);

  async block(user: string, other: string): Promise<void> {
    await this.redis.sadd(this.keys.blockedBy(other), user);
    await this.#put(user, other, 1);
    await this.#mark(user, other, 1);
    await this.#signals.lookAgain(user, other);
  }

  async unblock(user: string, other: string): Promise<void> {
    await this.#mark(user, other, 0);
    await this.#put(user, other, 0);
    await this.redis.srem(this.keys.blockedBy(other), user);
    await this.#signals.lookAgain(user, other);
  }

  /** Who blocks the user. */
  blockedBy(user: string): Promise<string[]> {
    return this.redis.smembers(this.keys.blockedBy(user));
  }

  /** Those of these users whose erasure is running. */
  async beingErased(users: readonly string[]): Promise<string[]> {
    const states = await Promise.all(users.map((user) => this.redis.hget(this.keys.erasure(user), 'state')));
    return users.filter((_, i) => states[i] === 'running');
  }

  /** Sorted. */
  async blocks(user: string): Promise<string[]> {
    return (await this.redis.smembers(this.keys.blocks(user))).sort();
  }

  /** Resolves with since when it runs, ms. */
  beginErasure(user: string): Promise<number> {
    const p = this.keys.partitionOf(user);
    return this.run<number>(
      'erase_begin',
      [this.keys.erasure(user), this.keys.erasures(p), this.keys.sessions(user)],
      [user, this.keys.bell(p, ''), BELL_ENTRIES],
    );
  }

  async erasure(user: string): Promise<Erasure> {
    const [state, since] = await this.redis.hmget(this.keys.erasure(user), 'state', 'since');
    return { state: (state ?? 'none') as Erasure['state'], since: since ? Number(since) : null };
  }

  /** Of those who were erased: up to when (ms). What they wrote by then is shown to nobody. */
  async erasedUntil(users: readonly string[]): Promise<Map<string, number>> {
    const all = await Promise.all(users.map((user) => this.redis.hget(this.keys.erasure(user), 'until')));
    return new Map(users.flatMap((user, i) => (all[i] ? [[user, Number(all[i])] as const] : [])));
  }

  async eraseFromChannel(user: string, channel: string, upToMs: number): Promise<void> {
    const keys = [this.keys.channel(channel), this.keys.members(channel), this.keys.receipts(channel)];
    keys.push(this.keys.unsaved(this.keys.partitionOf(channel)));
    const direct = channel.startsWith('dm:') ? 1 : 0;
    await this.run<'ok'>('erase_channel', keys, [user, upToMs, direct, channel]);
  }

  /** False when it is not the erasure that is running. */
  async finishErasure(user: string, since: number): Promise<boolean> {
    const p = this.keys.partitionOf(user);
    const k = this.keys;
    const keys = [
      k.erasure(user),
      k.erasures(p),
      k.sessions(user),
      k.inbox(user),
      k.devices(user),
      k.conversations(user),
    ];
    keys.push(k.blocks(user), k.presence(user), k.leaving(p), k.unsaved(p));
    const args = [user, since, k.bell(p, ''), BELL_ENTRIES];
    return (await this.run<number>('erase_user', keys, args)) === 1;
  }

  async #put(user: string, other: string, on: 0 | 1): Promise<void> {
    const keys = [this.keys.blocks(user), this.keys.unsaved(this.keys.partitionOf(user))];
    await this.run<'ok'>('put_block', keys, [user, other, on]);
  }

  async #mark(user: string, other: string, on: 0 | 1): Promise<void> {
    const channel = directChannel(user, other);
    const keys = [this.keys.channel(channel), this.keys.log(this.keys.partitionOf(channel))];
    await this.run<'ok'>('block', keys, [user, other, on]);
  }
}
