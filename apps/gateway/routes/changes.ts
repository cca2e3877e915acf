/** `PATCH` and `DELETE /channels/:channel/messages/:seq`. */
import type { FastifyPluginAsync } from 'fastify';
import { checkBody, checkPath, checkQuery } from '../../../lib/protocol/check.ts';
import { DeleteMessage, DeleteMessageQuery, MessagePath, PatchMessage } from '../../../lib/protocol/http.ts';
import { change } from '../changes.ts';
import type { GatewayContext } from '../context.ts';
import { callerOf } from './authentication.ts';
import { limitSends } from './send-limit.ts';

const MESSAGE = '/channels/:channel/messages/:seq';

export function changes(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    limitSends(app, ctx);
    app.patch(MESSAGE, async (request, reply) => {
      const { channel, seq } = checkPath(MessagePath, request.params);
      const { client_id: clientId, content } = checkBody(PatchMessage, request.body, ctx.config.limits);
      return reply.code(202).send(await change(ctx, callerOf(request), { channel, seq, clientId, content }));
    });

    app.delete(MESSAGE, async (request, reply) => {
      const { channel, seq } = checkPath(MessagePath, request.params);
      // Many clients cannot send a body with DELETE, and some send an empty object with everything.
      const inQuery = checkQuery(DeleteMessageQuery, request.query);
      const inBody = request.body === undefined ? {} : checkBody(DeleteMessageQuery, request.body);
      const { client_id: clientId } = checkBody(DeleteMessage, { ...inQuery, ...inBody });
      return reply.code(202).send(await change(ctx, callerOf(request), { channel, seq, clientId }));
    });
  };
}
