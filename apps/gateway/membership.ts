/**
 * Who may see a channel, and how much of it: the one place where reading is authorised, for HTTP and for WebSocket frames.
 *
 * Authorisation looks at the present (design §6 rule 4); what a member sees is cut to the intervals of their membership.
 */
import type { Role } from '../../lib/protocol/atoms.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import { isPartyTo, parseChannel } from '../../lib/protocol/ids.ts';
import { ZERO } from '../../lib/redis/ids.ts';
import type { Caller, GatewayContext } from './context.ts';

/** Sequence numbers, both ends included; `to` is Infinity while a member. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

export interface Membership {
  readonly channel: string;
  readonly kind: 'direct' | 'group';
  /** The channel's latest sequence number; 0 before the first message of a direct channel. */
  readonly seq: number;
  /** Log id of the latest event. */
  readonly last: string;
  /** Log id of the latest edit or deletion of a message; undefined: there was none. */
  readonly changed: string | undefined;
  /** Null in a direct channel, and for a service that is no member. */
  readonly role: Role | null;
  /** Oldest first. A service sees all of a group. */
  readonly intervals: readonly Interval[];
  readonly title: string | null;
  readonly owner: string | null;
  /** How many members. */
  readonly members: number;
}

const EVERYTHING: readonly Interval[] = [{ from: 1, to: Number.POSITIVE_INFINITY }];

/** Throws MillraceError: `bad_request` (no channel id), `forbidden` (a direct channel of others), `not_found`. */
export async function membershipOf(ctx: GatewayContext, caller: Caller, channel: string): Promise<Membership> {
  const parsed = parseChannel(channel);
  if (!parsed) throw new MillraceError('bad_request', 'channel: not a channel id');
  const { command } = ctx.store;
  if (parsed.kind === 'direct') {
    if (!isPartyTo(parsed, caller.user)) throw new MillraceError('forbidden', 'a direct channel of others');
    const fields = ['seq', 'last', 'changed', `erased:${caller.user}`];
    const [seq, last, changed, erased] = await ifLost(ctx, channel, () =>
      command.hmget(ctx.keys.channel(channel), ...fields),
    );
    const members = parsed.a === parsed.b ? 1 : 2;
    const none = { role: null, title: null, owner: null };
    return {
      channel,
      kind: 'direct',
      ...head(seq, last, changed),
      ...none,
      intervals: erased ? [{ from: Number(erased) + 1, to: Number.POSITIVE_INFINITY }] : EVERYTHING,
      members,
    };
  }
  const [seq, last, changed, title, owner, count, value] = await ifLost(ctx, channel, async () => {
    const [head, mine] = await Promise.all([
      command.hmget(ctx.keys.channel(channel), 'seq', 'last', 'changed', 'title', 'owner', 'member_count'),
      command.hget(ctx.keys.members(channel), caller.user),
    ]);
    return [...head, mine];
  });
  const member = value ? parseMember(value) : undefined;
  const present = member !== undefined && isPresent(member);
  if (!seq || !(present || caller.service)) throw new MillraceError('not_found', 'no such channel');
  return {
    channel,
    kind: 'group',
    ...head(seq, last, changed),
    role: present ? member.role : null,
    intervals: caller.service ? EVERYTHING : (member?.intervals ?? []),
    title: title || null,
    owner: owner || null,
    members: Number(count ?? 0),
  };
}

/** Reads again when the first that was read, the channel's seq, is missing and could be put back. */
async function ifLost<T extends readonly (string | null)[]>(
  ctx: GatewayContext,
  channel: string,
  read: () => Promise<T>,
): Promise<T> {
  const found = await read();
  return found[0] === null && (await ctx.rebuild.channel(channel)) === 'here' ? read() : found;
}

function head(seq: string | null | undefined, last: string | null | undefined, changed: string | null | undefined) {
  return { seq: Number(seq ?? 0), last: last ?? ZERO, changed: changed ?? undefined };
}

export interface Member {
  readonly role: Role;
  readonly intervals: readonly Interval[];
}

/** From the form in `members:{c}:<channel>`: `<role> <intervals>`, such as `admin 1-5,9-`. */
export function parseMember(value: string): Member {
  const space = value.indexOf(' ');
  const intervals = value
    .slice(space + 1)
    .split(',')
    .map((interval): Interval => {
      const [from = '', to = ''] = interval.split('-');
      return { from: Number(from), to: to === '' ? Number.POSITIVE_INFINITY : Number(to) };
    });
  return { role: value.slice(0, space) as Role, intervals };
}

export function isPresent(member: Member): boolean {
  return member.intervals.at(-1)?.to === Number.POSITIVE_INFINITY;
}

export function covers(intervals: readonly Interval[], seq: number): boolean {
  return intervals.some(({ from, to }) => from <= seq && seq <= to);
}
