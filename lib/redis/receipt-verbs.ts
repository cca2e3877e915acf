/** One typed method per script about watermarks: `raise`, `tell`, `read`. */
import { ScriptCaller } from './script-caller.ts';
import { BELL_ENTRIES, INBOX_ENTRIES, INBOX_TTL_MS } from './verbs.ts';

/** What a member has of a channel, as sequence numbers. */
export interface Watermarks {
  delivered: number;
  read: number;
}

export interface RaiseInput extends Watermarks {
  channel: string;
  user: string;
  /** The other one of a direct channel (oneself in notes to oneself); undefined: a group. */
  peer: string | undefined;
}
export type Raised = (Watermarks & { grown: boolean; members: number }) | 'refused' | 'broken';

export interface TellInput extends Watermarks {
  /** Whose inbox. */
  to: string;
  channel: string;
  /** Whose watermarks. */
  user: string;
  /** With one's own: the device that need not be told. */
  via: string;
}

export interface ReadInput {
  user: string;
  channel: string;
  seq: number;
  /** As raised: what the reader's other devices are told; 0 when unknown. */
  delivered: number;
  device: string;
}
/** `undefined`: the user has no such conversation, or has left it. */
export type ReadReply = { moved: boolean; seq: number; unread: number } | undefined | Error;

export class ReceiptVerbs extends ScriptCaller {
  /** All the channels must be of partitions that one command may touch. */
  async raise(raises: readonly RaiseInput[]): Promise<Raised[]> {
    const keys: string[] = [];
    const args: (string | number)[] = [];
    const order: number[] = [];
    const groups = new Map<string, number[]>();
    for (const [i, { channel, user, peer, delivered, read }] of raises.entries()) {
      if (peer === undefined) {
        const known = groups.get(channel);
        if (known) known.push(i);
        else groups.set(channel, [i]);
      } else {
        keys.push(this.keys.channel(channel), this.keys.unsaved(this.keys.partitionOf(channel)));
        args.push(peer === user ? 1 : 2, user, delivered, read);
        order.push(i);
      }
    }
    for (const [channel, some] of groups) {
      keys.push(this.keys.channel(channel), this.keys.unsaved(this.keys.partitionOf(channel)));
      keys.push(this.keys.members(channel), this.keys.receipts(channel));
      args.push('group', some.length);
      for (const i of some) {
        const { user = '', delivered = 0, read = 0 } = raises[i] ?? {};
        args.push(user, delivered, read);
        order.push(i);
      }
    }
    const partition = this.keys.partitionOf(raises[0]?.channel ?? '');
    const replies = await this.runHasty<[number, number, number, number][]>(partition, 'raise', keys, args);
    const raised: Raised[] = [];
    for (const [n, [grown, delivered, read, members]] of replies.entries()) {
      const reply = { grown: grown === 1, delivered, read, members };
      raised[order[n] ?? 0] = grown === -1 ? 'refused' : grown === -2 ? 'broken' : reply;
    }
    return raised;
  }

  /** All the recipients must be of partitions that one command may touch. Resolves with the number of entries written. */
  tell(receipts: readonly TellInput[]): Promise<number> {
    const byRecipient = Map.groupBy(receipts, ({ to }) => to);
    const keys: string[] = [];
    const args: (string | number)[] = [INBOX_ENTRIES, INBOX_TTL_MS, BELL_ENTRIES];
    for (const [to, some] of byRecipient) {
      keys.push(this.keys.inbox(to), this.keys.devices(to), this.keys.sessions(to));
      args.push(to, this.keys.bell(this.keys.partitionOf(to), ''), some.length);
      for (const { channel, user, delivered, read, via } of some) args.push(channel, user, delivered, read, via);
    }
    return this.runHasty<number>(this.keys.partitionOf(receipts[0]?.to ?? ''), 'tell', keys, args);
  }

  async read(input: Omit<ReadInput, 'delivered'>): Promise<Exclude<ReadReply, Error>> {
    const [reply] = await this.readAll([{ ...input, delivered: 0 }]);
    if (reply instanceof Error) throw reply;
    return reply;
  }

  /** All the users must be of partitions that one command may touch. What is wrong with one is its own reply. */
  async readAll(reads: readonly ReadInput[]): Promise<ReadReply[]> {
    const keys: string[] = [];
    const args: (string | number)[] = [INBOX_ENTRIES, INBOX_TTL_MS, BELL_ENTRIES];
    for (const { user, channel, seq, delivered, device } of reads) {
      keys.push(this.keys.conversations(user), this.keys.inbox(user));
      keys.push(this.keys.devices(user), this.keys.sessions(user));
      args.push(user, channel, seq, delivered, device, this.keys.bell(this.keys.partitionOf(user), ''));
    }
    const replies = await this.run<([number, number, number] | ['error', string])[]>('read', keys, args);
    return replies.map(([moved, seq, unread]) => {
      if (moved === 'error') return new Error(String(seq));
      return moved < 0 ? undefined : { moved: moved === 1, seq: Number(seq), unread: Number(unread) };
    });
  }
}
