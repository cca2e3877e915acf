/**
 * Accepts a message, whichever way it came: the WebSocket's `send` and `POST /v1/messages` end here.
 *
 * After it resolves the message is in the log, which is the commit point. When it rejects with `unavailable`, nothing was
 * stored as far as we know; the same client id again finds out.
 */
import { MillraceError } from '../../lib/protocol/errors.ts';
import { directChannel, parseChannel, peerOf } from '../../lib/protocol/ids.ts';
import { snippetOf } from '../../lib/protocol/snippet.ts';
import { NotReplicatedError } from '../../lib/redis/errors.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { AppendInput, AppendReply } from '../../lib/redis/verbs.ts';
import type { Caller, GatewayContext } from './context.ts';
import { refuseErasing } from './erasing.ts';
import { nextId } from './ids.ts';
import type { Receipts } from './receipts.ts';

/** Already validated by the schema. */
export interface Submission {
  channel?: string | undefined;
  to?: string | undefined;
  clientId: string;
  content: string;
  /** Compact JSON. */
  metadata?: string | undefined;
  /** The sending device; absent over HTTP. */
  device?: string | undefined;
}

export interface Accepted {
  client_id: string;
  channel: string;
  seq: number;
  id: string;
  ts: number;
  duplicate: boolean;
}

/** The channel that a caller may send to, or the refusal. */
export function targetOf(caller: Caller, submission: { channel?: string | undefined; to?: string | undefined }) {
  const channel = submission.channel ?? directChannel(caller.user, submission.to ?? '');
  const parsed = parseChannel(channel);
  if (!parsed) throw new MillraceError('bad_request', 'channel: not a channel id');
  if (parsed.kind === 'direct' && caller.user !== parsed.a && caller.user !== parsed.b) {
    throw new MillraceError('forbidden', 'a direct channel of others');
  }
  return { channel, kind: parsed.kind };
}

export async function accept(
  ctx: GatewayContext,
  receipts: Receipts,
  caller: Caller,
  submission: Submission,
): Promise<Accepted> {
  const { channel, kind } = targetOf(caller, submission);
  try {
    const message: AppendInput = {
      channel,
      kind,
      from: caller.user,
      clientId: submission.clientId,
      id: nextId(),
      content: submission.content,
      ...(submission.metadata === undefined ? {} : { metadata: submission.metadata }),
      ...(caller.name === undefined ? {} : { name: caller.name }),
      ...(submission.device === undefined ? {} : { via: submission.device }),
      snippet: snippetOf(submission.content),
    };
    ctx.logRoom.check(channel);
    if (kind === 'group') ctx.limits.group(channel);
    const reply = await append(ctx, message);
    if (reply === 'rebuild') throw new MillraceError('unavailable', 'the store was emptied meanwhile, try again');
    if (reply === 'forbidden') throw new MillraceError('forbidden', 'one of the two has blocked the other');
    if (typeof reply === 'string') throw new MillraceError('not_found', 'no such channel');
    const { members, covers, ...accepted } = reply;
    if (members !== undefined) ctx.limits.groupHas(channel, members);
    if (covers) receipts.sent(caller.user, submission.device ?? '', channel, accepted.seq, members ?? 2);
    if (!accepted.duplicate) ctx.metrics.accepted.of(submission.device === undefined ? 'http' : 'ws').inc();
    return { client_id: submission.clientId, channel, ...accepted };
  } catch (error) {
    throw asMillraceError(ctx, error, 'append');
  }
}

/** A direct channel may begin with it; one that was lost is read back first. */
async function append(ctx: GatewayContext, message: AppendInput): Promise<AppendReply> {
  let reply = await ctx.appends.append(message);
  let absent = false;
  if (reply === 'rebuild') {
    absent = (await ctx.rebuild.channel(message.channel)) === 'absent';
    if (!absent) reply = await ctx.appends.append(message);
    else reply = message.kind === 'direct' ? 'new' : 'not_found';
  }
  if (reply !== 'new') return reply;
  // They would have it after their erasure, which looked for their channels before.
  const peer = peerOf(message.channel, message.from);
  if (peer !== undefined) await refuseErasing(ctx, [peer]);
  await ctx.rare.newChannel(message.from);
  return ctx.appends.append({ ...message, mayCreate: true, absent });
}

/** What the client is told of a failure: `unavailable` when it may pass, else `internal`, with the cause in the log. */
export function asMillraceError(ctx: GatewayContext, error: unknown, doing: string): MillraceError {
  if (error instanceof MillraceError) return error;
  if (error instanceof NotReplicatedError) {
    ctx.refusals.warn(error, doing, 'too few replicas have it: not answered as durable');
    return new MillraceError('unavailable', 'too few replicas of the store have it yet, try again', {
      retryAfterMs: 250,
      cause: error,
    });
  }
  if (isRetryable(error)) {
    ctx.refusals.warn(error, doing, 'the store did not answer');
    return new MillraceError('unavailable', 'the store does not answer, try again', {
      retryAfterMs: 250,
      cause: error,
    });
  }
  ctx.logger.error({ err: error, doing }, 'unexpected failure');
  return new MillraceError('internal', 'unexpected failure', { cause: error });
}
