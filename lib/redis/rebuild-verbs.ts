/** Typed callers of `lua/lost.lua`, `lua/rebuild.lua`, `lua/restore.lua` and `lua/restore_account.lua`: what was lost is put back, where it is still missing. */
import type { ArchivedAccount } from '../archive/archive.ts';
import { DedupeWindow, type OtherWindow } from './dedupe-window.ts';
import { ScriptCaller } from './script-caller.ts';

/** Names and values as the keys hold them: see `lua/README.md`. */
export interface ChannelKeys {
  channel: [name: string, value: string][];
  members: [user: string, value: string][];
  receipts: [user: string, value: string][];
  dedupe: [name: string, value: string][];
  /** Who of the two of a direct channel blocks the other. */
  blockedBy: string[];
}

export const NOTHING: ChannelKeys = { channel: [], members: [], receipts: [], dedupe: [], blockedBy: [] };

export interface Mark {
  channel: string;
  /** Of the mark as it was seen; undefined: there was none. */
  seenRead: number | undefined;
  /** Of a mark that is behind, as it was seen: it is replaced. */
  seenLast?: number;
  last: number;
  ts: number;
  /** In addition to those of the mark that is there. */
  unread: number;
  read: number;
  left?: boolean;
}

/** Longer than the archive takes to answer. */
const CLAIM_MS = 10_000;

export class RebuildVerbs extends ScriptCaller {
  readonly #window = new DedupeWindow();

  /** How often the partition was lost, this time included. `found`: by whoever holds the claim, and kept in the archive. */
  async losses(partition: number, claim: string, found?: number): Promise<number | 'claimed' | 'claimed by another'> {
    const args = [claim, found ?? '', CLAIM_MS];
    const reply = await this.run<string>('lost', [this.keys.losses(partition)], args);
    return reply === 'claimed' || reply === 'claimed by another' ? reply : Number(reply);
  }

  /**
   * `losses`: what the keys were made for. `present`: it is there, or nothing is known of it; nothing was written. `lost`: all
   * was lost once more, nothing was written either.
   */
  async rebuild(channel: string, losses: number, found: ChannelKeys): Promise<'rebuilt' | 'present' | 'lost'> {
    const { keys } = this;
    const [reply] = await this.#window.call((window) => {
      const parts = [found.channel, found.members, found.receipts, found.dedupe];
      return this.run<OtherWindow | ['rebuilt' | 'present' | 'lost']>(
        'rebuild',
        [
          ...[keys.channel(channel), keys.members(channel), keys.receipts(channel)],
          ...[keys.dedupe(channel, window), keys.log(keys.partitionOf(channel))],
        ],
        [window, losses, ...parts.map((part) => part.length), ...parts.flat(2), ...found.blockedBy],
      );
    });
    return reply;
  }

  /**
   * How many marks were not as they had been seen. `complete`: with these the list is. `floor`: of the user's partition,
   * looked up before everything else; null: none.
   */
  restore(user: string, marks: readonly Mark[], complete: boolean, floor: string | null): Promise<number> {
    const args = marks.flatMap((m) => [
      ...[m.channel, m.seenRead ?? '', m.seenLast ?? ''],
      ...[m.last, m.ts, m.unread, m.read, m.left ? ' left' : ''],
    ]);
    const of = [this.keys.conversations(user), this.keys.devices(user)];
    return this.run('restore', of, [complete ? 1 : 0, floor ?? '', ...args]);
  }

  /** False when somebody has done it. */
  async restoreAccount(
    user: string,
    { devices, blocks, blockedBy }: ArchivedAccount,
    whole: boolean,
  ): Promise<boolean> {
    const keys = [this.keys.devices(user), this.keys.blocks(user), this.keys.blockedBy(user)];
    const tokens = devices.flatMap(({ device, platform, token }) => [device, `${platform} ${token}`]);
    const args = [whole ? 1 : 0, devices.length, ...tokens, blocks.length, ...blocks, blockedBy.length, ...blockedBy];
    return (await this.run<number>('restore_account', keys, args)) === 1;
  }
}
