/** `millrace inspect channel` */
import { InvalidArgumentError } from 'commander';
import { parseChannel } from '../../lib/protocol/ids.ts';
import type { Looking } from './looking.ts';
import { AT_MOST, type Section } from './table.ts';

export async function inspectChannel({ store, keys, cli }: Looking, id: string): Promise<Section[]> {
  const parsed = parseChannel(id);
  if (parsed === undefined) {
    throw new InvalidArgumentError('A channel id is g:<id>, or dm:<a>:<b> with the two users in alphabetical order.');
  }
  const redis = store.command;
  const head = await redis.hgetall(keys.channel(id));
  // The last message's own text stays out: operators look at states, not at what people write.
  const { message: _, ...fields } = head;
  const last = Number(head.seq ?? 0);
  const about: Section = {
    title: `Channel ${id} (partition ${keys.partitionOf(id)})`,
    redisCli: `${cli} HGETALL '${keys.channel(id)}'`,
    rows: Object.entries(fields)
      .filter(([field]) => !field.startsWith('receipt:'))
      .map(([field, value]) => ({ field, value })),
  };
  // A direct channel's members are the two in its id: nothing is stored about them.
  if (parsed.kind === 'direct') {
    const users = head.seq === undefined ? [] : [...new Set([parsed.a, parsed.b])];
    const fieldsOf = users.map((user) => `receipt:${user}`);
    const line = `HMGET '${keys.channel(id)}' ${[parsed.a, parsed.b].map((user) => `receipt:${user}`).join(' ')}`;
    const rows = users.map((user, i) => receiptRow(user, head[fieldsOf[i] ?? ''], last));
    return [about, { title: 'Receipts', redisCli: `${cli} ${line}`, rows }];
  }
  const [members, receipts] = await Promise.all([redis.hgetall(keys.members(id)), redis.hgetall(keys.receipts(id))]);
  const present = Object.keys(members).filter((user) => members[user]?.endsWith('-'));
  // A map: users may have the names that every object has.
  const marks = new Map(Object.entries(receipts));
  return [
    about,
    {
      title: 'Members',
      redisCli: `${cli} HGETALL '${keys.members(id)}'`,
      rows: Object.entries(members).map(([name, value]) => {
        const [role = '', intervals = ''] = value.split(' ');
        return { user: name, role, 'member for seq': intervals, now: intervals.endsWith('-') ? 'member' : 'left' };
      }),
      atMost: AT_MOST,
    },
    {
      title: 'Receipts of the members, who is furthest behind first',
      redisCli: `${cli} HGETALL '${keys.receipts(id)}'`,
      rows: present
        .map((user) => receiptRow(user, marks.get(user), last))
        .sort((a, b) => a.read - b.read || a.delivered - b.delivered),
      atMost: AT_MOST,
    },
  ];
}

/** Stored as `<delivered> <read>`; nothing, of who has received nothing. */
function receiptRow(user: string, stored: string | undefined, last: number) {
  const [delivered = 0, read = 0] = stored?.split(' ').map(Number) ?? [];
  return { user, delivered, read, 'not read': Math.max(0, last - read) };
}
