/**
 * What each member of a channel has received and read, as it is now. Who joined later, or has the id of somebody who was
 * erased, is not waited for with what was before: it counts as read, so that all have read what every watermark has reached.
 */
import type { FastifyPluginAsync } from 'fastify';
import { checkPath } from '../../../lib/protocol/check.ts';
import { ChannelPath, type Receipts } from '../../../lib/protocol/http.ts';
import { parseChannel } from '../../../lib/protocol/ids.ts';
import type { Watermarks } from '../../../lib/redis/receipt-verbs.ts';
import type { GatewayContext } from '../context.ts';
import { membershipOf } from '../membership.ts';
import { callerOf } from './authentication.ts';
import { membersOf, partiesOf } from './members.ts';

export function receipts(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/channels/:channel/receipts', async (request): Promise<Receipts> => {
      const { channel } = checkPath(ChannelPath, request.params);
      await membershipOf(ctx, callerOf(request), channel);
      const { command } = ctx.store;
      const parsed = parseChannel(channel);
      if (parsed?.kind === 'direct') {
        const users = partiesOf(parsed.a, parsed.b).map(({ user }) => user);
        const fields = users.flatMap((user) => [`receipt:${user}`, `erased:${user}`]);
        const stored = await command.hmget(ctx.keys.channel(channel), ...fields);
        return { receipts: users.map((user, i) => ({ user, ...watermarksOf(stored[2 * i], stored[2 * i + 1]) })) };
      }
      const [members, stored] = await Promise.all([
        command.hgetall(ctx.keys.members(channel)),
        command.hgetall(ctx.keys.receipts(channel)),
      ]);
      // A map: users may have the names that every object has.
      const marks = new Map(Object.entries(stored));
      return {
        receipts: membersOf(members).map(({ user, since }) => ({ user, ...watermarksOf(marks.get(user), since - 1) })),
      };
    });
  };
}

/**
 * From the stored form, `<delivered> <read>`; nothing is stored of who has received nothing yet. `unseen`: the last seq that
 * was before their time.
 */
export function watermarksOf(stored: string | null | undefined, unseen: string | number | null = 0): Watermarks {
  const [delivered = '0', read = '0'] = stored?.split(' ') ?? [];
  return { delivered: Math.max(Number(delivered), Number(unseen)), read: Math.max(Number(read), Number(unseen)) };
}
