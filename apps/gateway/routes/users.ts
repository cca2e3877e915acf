/** A user's rights over what is kept of them: erasure and export. */
import { Readable } from 'node:stream';
import type { FastifyPluginAsync } from 'fastify';
import { checkPath } from '../../../lib/protocol/check.ts';
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { type Erasure, UserPath } from '../../../lib/protocol/http.ts';
import type { Caller, GatewayContext } from '../context.ts';
import { exportOf } from '../export.ts';
import { callerOf } from './authentication.ts';

export function users(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.delete('/users/:user', async (request, reply) => {
      const { user } = checkPath(UserPath, request.params);
      selfOrAdmin(callerOf(request), user);
      const since = await ctx.accounts.beginErasure(user);
      return reply.code(202).send({ state: 'running', since } satisfies Erasure);
    });

    app.get('/users/:user/erasure', async (request): Promise<Erasure> => {
      const { user } = checkPath(UserPath, request.params);
      if (!callerOf(request).service) throw new MillraceError('forbidden', 'for service tokens only');
      return await ctx.accounts.erasure(user);
    });

    app.get('/users/:user/export', async (request, reply) => {
      const { user } = checkPath(UserPath, request.params);
      selfOrAdmin(callerOf(request), user);
      const lines = exportOf(ctx, user);
      // What fails before the first line is an answer of its own; later only a connection that breaks off tells it.
      const first = await lines.next();
      const all = (async function* () {
        if (!first.done) yield first.value;
        yield* lines;
      })();
      return reply.type('application/x-ndjson').send(Readable.from(all, { highWaterMark: 1 }));
    });
  };
}

function selfOrAdmin(caller: Caller, user: string): void {
  if (caller.user !== user && !caller.service) throw new MillraceError('forbidden', 'somebody else’s account');
}
