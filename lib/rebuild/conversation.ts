/** What a conversation list said of a channel before it was lost, or went back, as far as archive and channel tell. */
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
 * been before as read. Or it went back, and is behind the newest row. Undefined: nothing is to be done.
 */
export function markOf(channel: string, user: string, rows: readonly ArchiveRow[], seen: Seen): Mark | undefined {
  const mark = seen.mark === null ? undefined : parse(seen.mark);
  const joined = joinedAt(seen.member);
  if (joined === undefined) return mark && !mark.left ? ended(channel, mark, seen.member) : undefined;
  const visible = rows.filter(({ seq }) => seq >= joined);
  const [newest] = visible;
  if (!newest) return undefined;
  const read = Math.max(
    Number(seen.receipt?.split(' ')[1] ?? 0),
    ownLatest(visible).get(user) ?? 0,
    joined > 1 ? joined : 0,
    mark && mark.last < newest.seq ? mark.read : 0,
  );
  const unreadUpTo = (last: number) =>
    visible.filter(
      (row) => row.type === 'message' && !row.deleted && row.from !== user && row.seq > read && row.seq <= last,
    ).length;
  const moved = visible.find(({ type }) => type !== 'edited' && type !== 'deleted') ?? newest;
  if (mark && mark.last < newest.seq) {
    const { last: seenLast, read: seenRead } = mark;
    // What it counted of before the rows stays counted, unless it has been read since.
    const more = unreadUpTo(newest.seq) - (read > seenRead ? mark.unread : unreadUpTo(seenLast));
    return { channel, seenRead, seenLast, last: newest.seq, ts: moved.ts, unread: more, read };
  }
  if (mark) {
    if (mark.read <= read) return undefined;
    return { channel, seenRead: mark.read, last: newest.seq, ts: newest.ts, unread: unreadUpTo(mark.read), read };
  }
  return { channel, seenRead: undefined, last: newest.seq, ts: moved.ts, unread: unreadUpTo(newest.seq), read };
}

interface Listed {
  last: number;
  ts: number;
  unread: number;
  read: number;
  left: boolean;
}

function parse(mark: string): Listed {
  const [last, ts, unread, read, left] = mark.split(' ');
  return { last: Number(last), ts: Number(ts), unread: Number(unread), read: Number(read), left: left === 'left' };
}

/** The removal went with the end of the list. Where it was is known while the log holds it, and a while after. */
function ended(channel: string, { last, ts, read }: Listed, member: string | null | undefined): Mark {
  const until = Number(/(\d+)$/.exec(member ?? '')?.[1] ?? 0);
  return { channel, seenRead: read, seenLast: last, last: Math.max(last, until), ts, unread: 0, read, left: true };
}

/** The seq of the latest joining; undefined: no member. */
function joinedAt(member: string | null | undefined): number | undefined {
  if (member === undefined) return 1;
  const open = /(\d+)-$/.exec(member ?? '');
  return open ? Number(open[1]) : undefined;
}
