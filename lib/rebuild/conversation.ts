/** What a lost conversation list said of a channel, as far as archive and channel tell. */
import type { ArchiveRow } from '../archive/archive.ts';
import type { Mark } from '../redis/rebuild-verbs.ts';
import { ownLatest } from './channel.ts';

export interface Seen {
  /** From `conversations:{u}:<user>`; null: there is none. */
  mark: string | null;
  /** From the channel's watermarks, `<delivered> <read>`. */
  receipt: string | null;
  /** From `members:{c}:<channel>`; undefined: a direct channel. */
  member: string | null | undefined;
}

/**
 * `rows`: the newest, newest first. Read up to what the watermark says, or the user's own latest message; what others wrote
 * after it counts as unread, of these rows. A mark that is there was begun by what came after the loss: it took what had
 * been before as read. Undefined: nothing is to be done.
 */
export function markOf(channel: string, user: string, rows: readonly ArchiveRow[], seen: Seen): Mark | undefined {
  const joined = joinedAt(seen.member);
  if (joined === undefined) return undefined;
  const visible = rows.filter(({ seq }) => seq >= joined);
  const [newest] = visible;
  if (!newest) return undefined;
  const read = Math.max(
    Number(seen.receipt?.split(' ')[1] ?? 0),
    ownLatest(visible).get(user) ?? 0,
    joined > 1 ? joined : 0,
  );
  const unreadUpTo = (last: number) =>
    visible.filter(
      (row) => row.type === 'message' && !row.deleted && row.from !== user && row.seq > read && row.seq <= last,
    ).length;
  if (seen.mark !== null) {
    const seenRead = Number(seen.mark.split(' ')[3]);
    if (seenRead <= read) return undefined;
    return { channel, seenRead, last: newest.seq, ts: newest.ts, unread: unreadUpTo(seenRead), read };
  }
  const moved = visible.find(({ type }) => type !== 'edited' && type !== 'deleted') ?? newest;
  return { channel, seenRead: undefined, last: newest.seq, ts: moved.ts, unread: unreadUpTo(newest.seq), read };
}

/** The seq of the latest joining; undefined: no member. */
function joinedAt(member: string | null | undefined): number | undefined {
  if (member === undefined) return 1;
  const open = /(\d+)-$/.exec(member ?? '');
  return open ? Number(open[1]) : undefined;
}
