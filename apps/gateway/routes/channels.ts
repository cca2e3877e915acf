/** Groups are made, looked at and renamed; direct channels only looked at. */
import { createHash, randomBytes } from 'node:crypto';
import type { FastifyPluginAsync } from 'fastify';
import { checkBody, checkPath } from '../../../lib/protocol/check.ts';
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { type ChannelInfo, ChannelPath, PatchChannel, PostChannel } from '../../../lib/protocol/http.ts';
import type { Caller, GatewayContext } from '../context.ts';
import { refuseErasing } from '../erasing.ts';
import { nextId } from '../ids.ts';
import { type Membership, membershipOf } from '../membership.ts';
import { callerOf } from './authentication.ts';
import { changeGroup, groupFor } from './groups.ts';

/** 128 bits in base64url. */
const ID_CHARACTERS = 22;

export function channels(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.post('/channels', async (request, reply) => {
      const caller = callerOf(request);
      const body = checkBody(PostChannel, request.body, ctx.config.limits);
      const first = [...new Set([caller.user, ...body.members])];
      const most = ctx.config.limits.group_members;
      if (first.length > most) throw new MillraceError('conflict', `a group has at most ${most} members`);
      await refuseErasing(ctx, first);
      const channel = groupId(caller, body.client_id);
      ctx.logRoom.check(channel);
      const group = { channel, id: nextId(), clientId: body.client_id ?? '', title: body.title ?? '', members: first };
      let outcome = await ctx.verbs.create(group);
      if (outcome === 'rebuild') {
        const found = await ctx.rebuild.channel(channel);
        const known = found === 'absent' ? ({ known: body.client_id === undefined ? 'absent' : 'again' } as const) : {};
        outcome = await ctx.verbs.create({ ...group, ...known });
      }
      if (outcome === 'rebuild') throw new MillraceError('unavailable', 'the store was emptied meanwhile, try again');
      return reply.code(outcome === 'created' ? 201 : 200).send(infoOf(await membershipOf(ctx, caller, channel)));
    });

    app.get('/channels/:channel', async (request) => {
      const { channel } = checkPath(ChannelPath, request.params);
      return infoOf(await membershipOf(ctx, callerOf(request), channel));
    });

    app.patch('/channels/:channel', async (request) => {
      const caller = callerOf(request);
      const { channel } = checkPath(ChannelPath, request.params);
      const { title } = checkBody(PatchChannel, request.body, ctx.config.limits);
      groupFor(caller, channel);
      await changeGroup(ctx, channel, () => ctx.verbs.rename(channel, caller, nextId(), title));
      return infoOf(await membershipOf(ctx, caller, channel));
    });
  };
}

/**
 * With a client id the group's id follows from it and the creator, so that a repeat finds the group that the first call
 * made, for ever and without anything else to remember. User ids hold no space: no two pairs give the same text.
 */
function groupId(creator: Caller, clientId: string | undefined): string {
  const bytes =
    clientId === undefined ? randomBytes(16) : createHash('sha256').update(`${creator.user} ${clientId}`).digest();
  return `g:${bytes.toString('base64url').slice(0, ID_CHARACTERS)}`;
}

function infoOf({ channel, title, owner, seq, role, members }: Membership): ChannelInfo {
  return { channel, title, owner, last_seq: seq, role, members };
}
