/**
 * What `lua/deliver.lua` is called with. Every entry travels once, however many targets it has, and a target's cursors
 * are read and moved together, however many blocks it has in the call.
 */
import type { Keyspace } from '../keyspace/index.ts';

/** The first fields of every entry, whose names the script knows. */
const HEAD_FIELDS = 7;

/** One entry of a deliver block. */
export interface Delivery {
  logId: string;
  via: string;
  /** Inbox fields: name, value, name, value … starting with type, channel, seq, id, from, cid, ts. */
  fields: readonly string[];
  recipients: readonly string[];
}
export interface Block {
  source: number;
  target: number;
  after: string;
  last: string;
  floor: boolean;
  deliveries: readonly Delivery[];
}
export type BlockReply = { status: 'ok' | 'behind' | 'aborted'; cursor: string; error?: string };

/** A message to a user whose push tokens may be lost: nobody was woken for it. */
export interface Lost {
  user: string;
  fields: readonly string[];
}

export interface DeliverCall {
  keys: string[];
  /** After the script's four bounds. */
  args: (string | number)[];
  /** Which of the blocks each reply is of. */
  order: number[];
}

export function deliverCall(keyspace: Keyspace, blocks: readonly Block[]): DeliverCall {
  const keys: string[] = [];
  const targets = new Map<number, { cursor: number; blocks: number[] }>();
  const userAt = new Map<string, number>();
  const entryAt = new Map<readonly string[], number>();
  const entries: (string | number)[] = [];
  for (const [i, { target, deliveries }] of blocks.entries()) {
    const known = targets.get(target);
    if (known) known.blocks.push(i);
    else {
      targets.set(target, { cursor: keys.push(keyspace.cursor(target)), blocks: [i] });
      keys.push(keyspace.dead(target), keyspace.push(target));
    }
    for (const { logId, via, fields, recipients } of deliveries) {
      // One event goes to several targets with the very same fields: they travel once.
      if (!entryAt.has(fields)) {
        entryAt.set(fields, entryAt.size + 1);
        entries.push(logId, via, fields.length - HEAD_FIELDS);
        for (const [n, value] of fields.entries()) if (n >= 2 * HEAD_FIELDS || n % 2 === 1) entries.push(value);
      }
      for (const user of recipients) {
        if (userAt.has(user)) continue;
        userAt.set(user, keys.push(keyspace.inbox(user)));
        keys.push(keyspace.devices(user), keyspace.conversations(user), keyspace.sessions(user));
      }
    }
  }
  const args: (string | number)[] = [targets.size, entryAt.size, ...entries];
  const order: number[] = [];
  for (const [target, { cursor, blocks: mine }] of targets) {
    args.push(cursor, keyspace.bell(target, ''), mine.length);
    for (const i of mine) args.push(blocks[i]?.source ?? 0);
    for (const i of mine) {
      order.push(i);
      const b = blocks[i];
      if (!b) continue;
      args.push(b.after, b.last, b.floor ? 1 : 0, b.deliveries.length);
      for (const { fields, recipients } of b.deliveries) {
        args.push(entryAt.get(fields) ?? 0, recipients.length);
        for (const user of recipients) args.push(user, userAt.get(user) ?? 0);
      }
    }
  }
  return { keys, args, order };
}

/** `found`: which of the call's entries (from 1), a user; and so on. */
export function lostIn(blocks: readonly Block[], found: readonly (number | string)[]): Lost[] {
  if (found.length === 0) return [];
  const entries = [...new Set(blocks.flatMap(({ deliveries }) => deliveries.map(({ fields }) => fields)))];
  return Array.from({ length: found.length / 2 }, (_, i) => ({
    user: String(found[2 * i + 1]),
    fields: entries[Number(found[2 * i]) - 1] ?? [],
  }));
}
