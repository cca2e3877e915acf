/** Typed caller of `lua/change.lua`: edits and deletions of messages. */
import type { Cluster, Redis } from 'ioredis';
import { DEDUPE_WINDOW_MS, type Keyspace } from '../keyspace/index.ts';
import { run, type ScriptObserver } from './scripts.ts';
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

export type ChangeReply = Exclude<AppendReply, string> | ChangeRefusal;

export class ChangeVerbs {
  readonly #redis: Redis | Cluster;
  readonly #keys: Keyspace;
  readonly #observe: ScriptObserver | undefined;
  /** What the store's clock is ahead of ours, known from the last refusal of a dedupe window. */
  #clockAheadMs = 0;

  constructor(redis: Redis | Cluster, keys: Keyspace, observe?: ScriptObserver) {
    this.#redis = redis;
    this.#keys = keys;
    this.#observe = observe;
  }

  async change(c: ChangeInput): Promise<ChangeReply> {
    const { channel } = c;
    const p = this.#keys.partitionOf(channel);
    for (let attempt = 0; attempt < 3; attempt++) {
      const window = Math.floor((Date.now() + this.#clockAheadMs) / DEDUPE_WINDOW_MS);
      const keys = [this.#keys.channel(channel), this.#keys.members(channel), this.#keys.log(p)];
      for (let back = 0; back < 3; back++) keys.push(this.#keys.dedupe(channel, window - back));
      const args = [window, c.from, c.clientId, c.id, channel, c.kind];
      args.push(c.content === undefined ? 'deleted' : 'edited', c.target.seq, c.target.id ?? '', c.refusal ?? 'ok');
      args.push(c.content ?? '', c.snippet ?? '', c.via ?? '');
      const reply = await run<['window', number] | ['ok', number, string, number, number] | [ChangeRefusal]>(
        this.#redis,
        'change',
        keys,
        args,
        this.#observe,
      );
      if (reply[0] === 'ok') return { seq: reply[1], id: reply[2], ts: reply[3], duplicate: reply[4] === 1 };
      if (reply[0] !== 'window') return reply[0];
      this.#clockAheadMs = reply[1] - Date.now();
    }
    throw new Error('the store refused the dedupe window three times: its clock jumps');
  }
}
