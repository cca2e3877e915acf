/** Typed caller of `lua/change.lua`: edits and deletions of messages. */
import { DedupeWindow, type OtherWindow } from './dedupe-window.ts';
import { ScriptCaller } from './script-caller.ts';
import type { AppendReply } from './verbs.ts';

/** Why a change is refused. `unavailable`: what it aims at could not be looked at. */
export type ChangeRefusal = 'not_found' | 'forbidden' | 'unavailable';

export interface ChangeInput {
  channel: string;
  kind: 'direct' | 'group';
  from: string;
  clientId: string;
  /** Of the change itself: a version 1 UUID. */
  id: string;
  /** The message that is changed; `id` is unknown when it was not found. */
  target: { seq: number; id?: string };
  /** What the caller found of the message: a repeat of an accepted change gets its first answer all the same. */
  refusal?: ChangeRefusal | undefined;
  /** Of an edit; without it the message is deleted. */
  content?: string | undefined;
  snippet?: string | undefined;
  /** The sending device; absent over HTTP. */
  via?: string | undefined;
}

export type ChangeReply = Omit<Exclude<AppendReply, string>, 'covers' | 'members'> | ChangeRefusal;

type Changed = ['ok', number, string, number, number];

export class ChangeVerbs extends ScriptCaller {
  readonly #window = new DedupeWindow();

  async change(c: ChangeInput): Promise<ChangeReply> {
    const { channel } = c;
    const p = this.keys.partitionOf(channel);
    const reply = await this.#window.call((window) => {
      const keys = [this.keys.channel(channel), this.keys.members(channel), this.keys.log(p)];
      for (let back = 0; back < 3; back++) keys.push(this.keys.dedupe(channel, window - back));
      const args = [window, c.from, c.clientId, c.id, channel, c.kind];
      args.push(c.content === undefined ? 'deleted' : 'edited', c.target.seq, c.target.id ?? '', c.refusal ?? 'ok');
      args.push(c.content ?? '', c.snippet ?? '', c.via ?? '');
      return this.runInLane<OtherWindow | Changed | [ChangeRefusal]>(p, 'change', keys, args);
    });
    if (reply[0] !== 'ok') return reply[0];
    return { seq: reply[1], id: reply[2], ts: reply[3], duplicate: reply[4] === 1 };
  }
}
