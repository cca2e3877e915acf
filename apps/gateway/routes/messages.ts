/** `POST /messages`. */
import type { FastifyPluginAsync } from 'fastify';
import { checkBody } from '../../../lib/protocol/check.ts';
import { PostMessage } from '../../../lib/protocol/http.ts';
import { accept } from '../accept.ts';
import type { GatewayContext } from '../context.ts';
import type { Receipts } from '../receipts.ts';
import { callerOf } from './authentication.ts';
import { limitSends } from './send-limit.ts';

export function messages(ctx: GatewayContext, receipts: Receipts): FastifyPluginAsync {
  return async (app) => {
    limitSends(app, ctx);
    app.post('/messages', async (request, reply) => {
      const body = checkBody(PostMessage, request.body, ctx.config.limits);
      const accepted = await accept(ctx, receipts, callerOf(request), {
        channel: body.channel,
        to: body.to,
        clientId: body.client_id,
        content: body.content,
        metadata: body.metadata === undefined ? undefined : JSON.stringify(body.metadata),
      });
      return reply.code(202).send(accepted);
    });
  };
}
