/** `GET /channels/:channel/messages`. */
import type { FastifyPluginAsync } from 'fastify';
import { checkPath, checkQuery } from '../../../lib/protocol/check.ts';
import { ChannelPath, type History, HistoryQuery } from '../../../lib/protocol/http.ts';
import { HISTORY_PAGE } from '../../../lib/protocol/limits.ts';
import type { GatewayContext } from '../context.ts';
import { readHistory } from '../history.ts';
import { membershipOf } from '../membership.ts';
import { callerOf } from './authentication.ts';

export function history(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/channels/:channel/messages', async (request): Promise<History> => {
      const { channel } = checkPath(ChannelPath, request.params);
      const { limit = HISTORY_PAGE.default, ...bounds } = checkQuery(HistoryQuery, request.query);
      // The channel's head comes with the membership, so it is read before the archive and the log, as readHistory needs.
      const { seq, last, intervals } = await membershipOf(ctx, callerOf(request), channel);
      return readHistory({
        archive: ctx.archive,
        tail: (from, lowestSeq, hops) => ctx.verbs.walk(channel, from, lowestSeq, hops),
        channel,
        query: { ...bounds, limit },
        head: { seq, last },
        intervals,
        archiveFailed: (error) => ctx.logger.warn({ err: error, channel }, 'part of the history could not be read'),
      });
    });
  };
}
