/** `GET /channels/:channel/messages`. */
import type { FastifyPluginAsync } from 'fastify';
import { checkPath, checkQuery } from '../../../lib/protocol/check.ts';
import { ChannelPath, type History, HistoryQuery } from '../../../lib/protocol/http.ts';
import { HISTORY_PAGE } from '../../../lib/protocol/limits.ts';
import type { GatewayContext } from '../context.ts';
import { membershipOf } from '../membership.ts';
import { pageOf } from '../page.ts';
import { callerOf } from './authentication.ts';

export function history(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/channels/:channel/messages', async (request): Promise<History> => {
      const { channel } = checkPath(ChannelPath, request.params);
      const { limit = HISTORY_PAGE.default, ...bounds } = checkQuery(HistoryQuery, request.query);
      const membership = await membershipOf(ctx, callerOf(request), channel);
      return pageOf(ctx, membership, { ...bounds, limit });
    });
  };
}
