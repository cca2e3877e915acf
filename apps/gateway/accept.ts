/**
 * Accepts a message, whichever way it came: the WebSocket's `send` and `POST /v1/messages` end here.
 *
 * After it resolves the message is in the log, which is the commit point. When it rejects with `unavailable`, nothing was
 * stored as far as we know; the same client id again finds out.
 */
import { MillraceError } from '../../lib/protocol/errors.ts';
import { directChannel, parseChannel } from '../../lib/protocol/ids.ts';
import { NotReplicatedError } from '../../lib/redis/errors.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { AppendInput } from '../../lib/redis/verbs.ts';
import type { Caller, GatewayContext } from './context.ts';
import { nextId } from './ids.ts';

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

const SNIPPET_CHARACTERS = 80;

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

export async function accept(ctx: GatewayContext, caller: Caller, submission: Submission): Promise<Accepted> {
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
    let reply = await ctx.appends.append(message);
    if (reply === 'new') {
      await ctx.rare.newChannel(caller.user);
      reply = await ctx.appends.append({ ...message, mayCreate: true });
    }
    if (reply === 'forbidden') throw new MillraceError('forbidden', 'one of the two has blocked the other');
    if (typeof reply === 'string') throw new MillraceError('not_found', 'no such channel');
    const { members, ...accepted } = reply;
    if (members !== undefined) ctx.limits.groupHas(channel, members);
    if (!accepted.duplicate) ctx.metrics.accepted.of(submission.device === undefined ? 'http' : 'ws').inc();
    return { client_id: submission.clientId, channel, ...accepted };
  } catch (error) {
    throw asMillraceError(ctx, error, 'append');
  }
}

/** What the client is told of a failure: `unavailable` when it may pass, else `internal`, with the cause in the log. */
export function asMillraceError(ctx: GatewayContext, error: unknown, doing: string): MillraceError {
  if (error instanceof MillraceError) return error;
  if (error instanceof NotReplicatedError) {
    ctx.logger.warn({ err: error, doing }, 'too few replicas have it: not answered as durable');
    return new MillraceError('unavailable', 'too few replicas of the store have it yet, try again', {
      retryAfterMs: 500,
      cause: error,
    });
  }
  if (isRetryable(error)) {
    ctx.logger.warn({ err: error, doing }, 'the store did not answer');
    return new MillraceError('unavailable', 'the store does not answer, try again', {
      retryAfterMs: 500,
      cause: error,
    });
  }
  ctx.logger.error({ err: error, doing }, 'unexpected failure');
  return new MillraceError('internal', 'unexpected failure', { cause: error });
}

export function snippetOf(content: string): string {
  if (content.length <= SNIPPET_CHARACTERS) return content;
  const cut = content.slice(0, SNIPPET_CHARACTERS);
  return cut.isWellFormed() ? cut : cut.slice(0, -1); // not through the middle of a surrogate pair
}
