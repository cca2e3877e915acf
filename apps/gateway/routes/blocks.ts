/** Whom one blocks: no direct messages between the two, whoever blocked. */
import type { FastifyPluginAsync } from 'fastify';
import { checkPath } from '../../../lib/protocol/check.ts';
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { type Blocks, UserPath } from '../../../lib/protocol/http.ts';
import type { GatewayContext } from '../context.ts';
import { callerOf } from './authentication.ts';

export function blocks(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/blocks', async (request): Promise<Blocks> => {
      const { user } = callerOf(request);
      await ctx.rebuild.account(user);
      return { blocks: await ctx.accounts.blocks(user) };
    });

    app.put('/blocks/:user', async (request, reply) => {
      const caller = callerOf(request);
      const { user } = checkPath(UserPath, request.params);
      if (user === caller.user) throw new MillraceError('bad_request', 'user: nobody blocks themselves');
      await ctx.rebuild.account(caller.user);
      await ctx.accounts.block(caller.user, user);
      return reply.code(204).send();
    });

    app.delete('/blocks/:user', async (request, reply) => {
      const caller = callerOf(request);
      const { user } = checkPath(UserPath, request.params);
      await ctx.rebuild.account(caller.user);
      if (user !== caller.user) await ctx.accounts.unblock(caller.user, user);
      return reply.code(204).send();
    });
  };
}
