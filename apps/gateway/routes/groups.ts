/** What the calls that change a group share. */
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { isPartyTo, parseChannel } from '../../../lib/protocol/ids.ts';
import type { GroupReply } from '../../../lib/redis/verbs.ts';
import type { Caller, GatewayContext } from '../context.ts';

/** Refuses direct channels: theirs is nothing to change. */
export function groupFor(caller: Caller, channel: string): void {
  const parsed = parseChannel(channel);
  if (parsed?.kind === 'group') return;
  if (parsed && !caller.service && !isPartyTo(parsed, caller.user)) {
    throw new MillraceError('forbidden', 'a direct channel of others');
  }
  throw new MillraceError('bad_request', 'a direct channel has no title, and its members do not change');
}

const REFUSALS: Record<Exclude<GroupReply, 'ok'>, string> = {
  not_found: 'no such channel',
  forbidden: 'not with this role',
  conflict: 'the group is full',
  bad_request: 'role: the owner gives the group away to a member, and cannot be demoted',
};

/** A group that was lost is read back first. */
export async function changeGroup(
  ctx: GatewayContext,
  channel: string,
  change: () => Promise<GroupReply>,
): Promise<void> {
  let reply = await change();
  if (reply === 'not_found' && (await ctx.rebuild.channel(channel)) === 'here') reply = await change();
  if (reply !== 'ok') throw new MillraceError(reply, REFUSALS[reply]);
}
