/**
 * Whose presence one may see: one's own, and that of people with whom one shares a channel, unless one of the two blocks
 * the other. Read from the present state each time; who keeps the answer asks again each minute.
 */
import { directChannel } from '../../lib/protocol/ids.ts';
import { blockedWith } from './blocks.ts';
import type { GatewayContext } from './context.ts';

/** A group in which the two meet is looked for among so many of the watcher's, the latest ones. */
const GROUPS_LOOKED_AT = 100;
/** Users asked about at once: each is a command or two, and the answers wait in memory. */
const AT_ONCE = 100;

export async function visibleTo(ctx: GatewayContext, watcher: string, users: readonly string[]): Promise<Set<string>> {
  const visible = new Set(users.filter((user) => user === watcher));
  const others = users.filter((user) => user !== watcher);
  if (others.length === 0) return visible;
  const own = ctx.keys.conversations(watcher);
  const direct = await ctx.store.command.hmget(own, ...others.map((user) => directChannel(watcher, user)));
  const strangers = others.filter((_, i) => !direct[i]);
  const groups = strangers.length === 0 ? [] : latestGroups(await ctx.store.command.hgetall(own));
  const acquainted = others.filter((_, i) => direct[i]);
  if (groups.length > 0) {
    for (let i = 0; i < strangers.length; i += AT_ONCE) {
      const some = strangers.slice(i, i + AT_ONCE);
      const marks = await Promise.all(
        some.map((user) => ctx.store.command.hmget(ctx.keys.conversations(user), ...groups)),
      );
      acquainted.push(...some.filter((_, at) => marks[at]?.some(isMember)));
    }
  }
  for (let i = 0; i < acquainted.length; i += AT_ONCE) {
    const some = acquainted.slice(i, i + AT_ONCE);
    const blocked = await blockedWith(ctx, watcher, some);
    for (const user of some) if (!blocked.has(user)) visible.add(user);
  }
  return visible;
}

/** A conversation's mark, `<last seq> <its ts> <unread> <read seq>`, ends in ` left` after one's removal. */
function isMember(mark: string | null): boolean {
  return mark !== null && !mark.endsWith(' left');
}

function latestGroups(conversations: Record<string, string>): string[] {
  return Object.entries(conversations)
    .filter(([channel, mark]) => channel.startsWith('g:') && isMember(mark))
    .map(([channel, mark]) => ({ channel, ts: Number(mark.split(' ')[1]) }))
    .sort((a, b) => b.ts - a.ts)
    .slice(0, GROUPS_LOOKED_AT)
    .map(({ channel }) => channel);
}
