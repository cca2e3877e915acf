/** Who is in a channel, and in which role. */
import type { FastifyPluginAsync } from 'fastify';
import { checkBody, checkPath } from '../../../lib/protocol/check.ts';
import { ChannelPath, type MemberInfo, MemberPath, type Members, PutMember } from '../../../lib/protocol/http.ts';
import { parseChannel } from '../../../lib/protocol/ids.ts';
import type { GatewayContext } from '../context.ts';
import { refuseErasing } from '../erasing.ts';
import { nextId } from '../ids.ts';
import { isPresent, membershipOf, parseMember } from '../membership.ts';
import { callerOf } from './authentication.ts';
import { changeGroup, groupFor } from './groups.ts';

export function members(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/channels/:channel/members', async (request): Promise<Members> => {
      const { channel } = checkPath(ChannelPath, request.params);
      await membershipOf(ctx, callerOf(request), channel);
      const parsed = parseChannel(channel);
      if (parsed?.kind === 'direct') return { members: partiesOf(parsed.a, parsed.b) };
      return { members: membersOf(await ctx.store.command.hgetall(ctx.keys.members(channel))) };
    });

    app.put('/channels/:channel/members/:user', async (request, reply) => {
      const caller = callerOf(request);
      const { channel, user } = checkPath(MemberPath, request.params);
      const { role } = checkBody(PutMember, request.body === undefined ? {} : request.body, ctx.config.limits);
      groupFor(caller, channel);
      await refuseErasing(ctx, [user]);
      const ids: [string, string] = [nextId(), nextId()];
      const most = ctx.config.limits.group_members;
      await changeGroup(ctx, channel, () => ctx.verbs.putMember(channel, caller, ids, user, role ?? '', most));
      return reply.code(204).send();
    });

    app.delete('/channels/:channel/members/:user', async (request, reply) => {
      const caller = callerOf(request);
      const { channel, user } = checkPath(MemberPath, request.params);
      groupFor(caller, channel);
      await changeGroup(ctx, channel, () => ctx.verbs.removeMember(channel, caller, [nextId(), nextId()], user));
      return reply.code(204).send();
    });
  };
}

/** A direct channel's members never join: they are there before its first message. */
export function partiesOf(a: string, b: string): MemberInfo[] {
  return [...new Set([a, b])].map((user) => ({ user, role: null, since: 0 }));
}

/** Those present, in the order of their joining. */
export function membersOf(stored: Readonly<Record<string, string>>): MemberInfo[] {
  const present: MemberInfo[] = [];
  for (const [user, value] of Object.entries(stored)) {
    const member = parseMember(value);
    if (isPresent(member)) present.push({ user, role: member.role, since: member.intervals.at(-1)?.from ?? 0 });
  }
  return present.sort((a, b) => a.since - b.since || (a.user < b.user ? -1 : 1));
}
