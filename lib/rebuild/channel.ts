/** What a lost channel's keys held, as far as the archive tells. */
import type { ArchivedChannel, ArchiveRow } from '../archive/archive.ts';
import { SEQ_STRIDE } from '../archive/rows.ts';
import { snippetOf } from '../protocol/snippet.ts';
import { ZERO } from '../redis/ids.ts';
import type { ChannelKeys } from '../redis/rebuild-verbs.ts';

/** Client ids are remembered for at least an hour: three windows of half an hour. */
const REMEMBERED_MS = 90 * 60_000;

/**
 * The number that a channel goes on from after its partition's loss of that number: a multiple of the stride above all that
 * was given out before, as long as less than half a stride of it had not been archived. Later losses make it higher also
 * where nothing was archived in between.
 */
export function baseOf(lastSeq: number, losses: number): number {
  return (Math.floor((lastSeq + SEQ_STRIDE / 2) / SEQ_STRIDE) + losses) * SEQ_STRIDE;
}

/** `rows`: the newest, newest first. */
export function keysOf(
  channel: string,
  archived: ArchivedChannel,
  losses: number,
  rows: readonly ArchiveRow[],
  now: number,
): ChannelKeys {
  const base = String(baseOf(archived.lastSeq, losses));
  const direct = channel.startsWith('dm:');
  const fields = new Map([
    ['seq', base],
    ['last', ZERO],
    ['kind', direct ? 'direct' : 'group'],
    ['created', String(archived.createdAt ?? rows.at(-1)?.ts ?? now)],
  ]);
  const latest = rows.find((row) => row.type === 'message');
  if (latest) {
    const snippet = latest.deleted ? '' : snippetOf(latest.content ?? '');
    fields.set('message', `${latest.seq} ${latest.from} ${latest.ts} ${snippet}`);
  }
  const watermarks = watermarksOf(archived, rows);
  if (direct) {
    for (const [user, value] of watermarks) fields.set(`receipt:${user}`, value);
    for (const user of archived.erased) fields.set(`erased:${user}`, base);
    const { blockedBy } = archived;
    return { channel: [...fields], members: [], receipts: [], dedupe: dedupeOf(rows, now), blockedBy };
  }
  const members = membersOf(archived);
  const present = [...members].filter(([, { intervals }]) => intervals.at(-1)?.to === undefined);
  fields.set('title', archived.title ?? '');
  fields.set('owner', present.find(([, { role }]) => role === 'owner')?.[0] ?? '');
  fields.set('members_version', base);
  fields.set('member_count', String(present.length));
  return {
    channel: [...fields],
    members: [...members].map(([user, { role, intervals }]) => [
      user,
      `${role} ${intervals.map(({ from, to }) => `${from}-${to ?? ''}`).join(',')}`,
    ]),
    receipts: present.flatMap(([user]): [string, string][] => {
      const value = watermarks.get(user);
      return value === undefined ? [] : [[user, value]];
    }),
    dedupe: dedupeOf(rows, now),
    blockedBy: [],
  };
}

interface Membership {
  role: string;
  intervals: { from: number; to?: number }[];
}

/** Both ends of an interval are included, as `members:{c}:<channel>` has them. */
function membersOf({ members }: ArchivedChannel): Map<string, Membership> {
  const known = new Map<string, Membership>();
  for (const { user, seq, action, role } of members) {
    const member = known.get(user) ?? { role, intervals: [] };
    known.set(user, member);
    const open = member.intervals.at(-1)?.to === undefined ? member.intervals.at(-1) : undefined;
    member.role = action === 'removed' ? 'member' : role;
    if (action === 'removed' && open) open.to = seq;
    else if ((action === 'created' || action === 'added') && !open) member.intervals.push({ from: seq });
  }
  for (const [user, { intervals }] of known) if (intervals.length === 0) known.delete(user);
  return known;
}

/** `<delivered> <read>` by user: as they were kept, or further when somebody has written since. */
function watermarksOf({ receipts }: ArchivedChannel, rows: readonly ArchiveRow[]): Map<string, string> {
  const kept = new Map(receipts.map(({ user, delivered, read }) => [user, { delivered, read }]));
  for (const [user, seq] of ownLatest(rows)) {
    const { delivered = 0, read = 0 } = kept.get(user) ?? {};
    kept.set(user, { delivered: Math.max(delivered, seq), read: Math.max(read, seq) });
  }
  return new Map([...kept].map(([user, { delivered, read }]) => [user, `${delivered} ${read}`]));
}

/** Whoever sends has read up to there. */
export function ownLatest(rows: readonly ArchiveRow[]): Map<string, number> {
  const latest = new Map<string, number>();
  for (const { type, from, seq } of rows) {
    if (type === 'message' && seq > (latest.get(from) ?? 0)) latest.set(from, seq);
  }
  return latest;
}

/** A repeat gets its first answer, and a deletion stays the last word. */
function dedupeOf(rows: readonly ArchiveRow[], now: number): [string, string][] {
  const entries: [string, string][] = [];
  for (const { type, from, clientId, seq, id, ts, target } of rows) {
    if (ts < now - REMEMBERED_MS || !['message', 'edited', 'deleted'].includes(type)) continue;
    entries.push([`${from} ${clientId}`, `${seq} ${id} ${ts}`]);
    if (type === 'deleted' && target) entries.push([String(target.seq), 'deleted']);
  }
  return entries;
}
