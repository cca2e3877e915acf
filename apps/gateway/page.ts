/** A page of a channel's history for somebody who may see it: what `readHistory` needs, from the gateway's parts. */
import type { History } from '../../lib/protocol/http.ts';
import { ZERO } from '../../lib/redis/ids.ts';
import type { GatewayContext } from './context.ts';
import { type HistoryRequest, readHistory } from './history.ts';
import type { Membership } from './membership.ts';

/** The channel's head comes with the membership: it is read before the archive and the log, as `readHistory` needs. */
export async function pageOf(
  ctx: GatewayContext,
  { channel, seq, last, changed, intervals }: Membership,
  query: HistoryRequest['query'],
): Promise<History> {
  await ctx.lanes.confirm(channel, seq);
  const position = changed === undefined ? null : await archiverPosition(ctx, channel);
  return readHistory({
    archive: ctx.archive,
    tail: (from, lowestSeq, hops) => ctx.verbs.walk(channel, from, lowestSeq, hops),
    changes: (from, hops) => ctx.verbs.walk(channel, from, 1, hops, 'prior'),
    channel,
    query,
    head: { seq, last, changed },
    archivedTo: position ?? ZERO,
    intervals,
    erasedUntil: (users) => ctx.accounts.erasedUntil(users),
    archiveFailed: (error) => ctx.logger.warn({ err: error, channel }, 'part of the history could not be read'),
  });
}

function archiverPosition(ctx: GatewayContext, channel: string): Promise<string | null> {
  return ctx.store.command.hget(ctx.keys.positions(ctx.keys.partitionOf(channel)), 'archiver');
}
