/**
 * Edits and deletions, whichever way they come: the WebSocket's `edit` and `delete`, HTTP's `PATCH` and `DELETE` of a message.
 *
 * The message is looked at before, in the log when it is near the channel's end, else in the archive: its author never
 * changes, and whether it was deleted meanwhile is for `change.lua` to say, which is where both orders of an edit and a
 * deletion in flight are decided. Whatever the look found goes to the script too: a repeat of an accepted change gets
 * its first answer, though the message is deleted by now.
 */
import { rowOf } from '../../lib/archive/from-log.ts';
import type { ArchiveRow } from '../../lib/archive/index.ts';
import { encodeAccepted } from '../../lib/protocol/encode.ts';
import { type ErrorCode, MillraceError } from '../../lib/protocol/errors.ts';
import type { DeleteFrame, EditFrame } from '../../lib/protocol/frames.ts';
import { snippetOf } from '../../lib/protocol/snippet.ts';
import type { ChangeInput, ChangeRefusal } from '../../lib/redis/change-verbs.ts';
import { type Accepted, asMillraceError, targetOf } from './accept.ts';
import type { Caller, GatewayContext } from './context.ts';
import type { Hub } from './hub.ts';
import { nextId } from './ids.ts';
import { covers, type Membership, membershipOf } from './membership.ts';
import { inOrder } from './ordered.ts';
import { pageOf } from './page.ts';
import type { Session } from './session.ts';

/** Already validated by the schema. */
export interface ChangeSubmission {
  channel: string;
  /** Of the message. */
  seq: number;
  clientId: string;
  /** The new content; without it the message is deleted. */
  content?: string | undefined;
  /** The sending device; absent over HTTP. */
  device?: string | undefined;
}

/** One script call; a message further back is looked for in the archive first. */
const NEAR = 50;
const RETRY_MS = 2_000;
const REFUSALS: Record<ChangeRefusal, string> = {
  not_found: 'no such message',
  forbidden: 'not one’s own message, or blocked',
  unavailable: 'the archive does not answer, try again',
};

/** The frames `edit` and `delete`. */
export async function changeMessage(hub: Hub, session: Session, caller: Caller, frame: EditFrame | DeleteFrame) {
  const { channel, seq, client_id: clientId, ref } = frame;
  const content = frame.type === 'edit' ? frame.content : undefined;
  const submission = { channel, seq, clientId, content, device: session.device };
  const accepted = await inOrder(session, channel, () => change(hub.ctx, caller, submission));
  session.sendText(encodeAccepted({ ...accepted, ref }));
}

export async function change(ctx: GatewayContext, caller: Caller, submission: ChangeSubmission): Promise<Accepted> {
  const { clientId, content, device, seq } = submission;
  const { channel, kind } = targetOf(caller, submission);
  try {
    ctx.logRoom.check(channel);
    if (kind === 'group') ctx.limits.group(channel);
    const look = await lookAt(ctx, caller, channel, seq);
    const reply = await ctx.changes.change({
      channel,
      kind,
      from: caller.user,
      clientId,
      id: nextId(),
      ...look,
      ...(content === undefined ? {} : { content, snippet: snippetOf(content) }),
      via: device,
    });
    if (typeof reply === 'string') throw refusal(reply);
    if (!reply.duplicate) ctx.metrics.accepted.of(device === undefined ? 'http' : 'ws').inc();
    return { client_id: clientId, channel, ...reply };
  } catch (error) {
    throw asMillraceError(ctx, error, content === undefined ? 'delete' : 'edit');
  }
}

function refusal(code: ChangeRefusal): MillraceError {
  const retry = code === 'unavailable' ? { retryAfterMs: RETRY_MS } : {};
  return new MillraceError(code satisfies ErrorCode, REFUSALS[code], retry);
}

type Look = Pick<ChangeInput, 'target' | 'refusal'>;

/** What is found of the message, or why it may not be changed by this caller. */
async function lookAt(ctx: GatewayContext, caller: Caller, channel: string, seq: number): Promise<Look> {
  const nothing = (refusal: ChangeRefusal): Look => ({ target: { seq }, refusal });
  let membership: Membership;
  try {
    // A service token changes what the user may for whom it acts.
    membership = await membershipOf(ctx, { ...caller, service: false }, channel);
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'not_found') return nothing('not_found');
    throw error;
  }
  if (seq > membership.seq || !covers(membership.intervals, seq)) return nothing('not_found');
  const found = (await nearTheEnd(ctx, membership, seq)) ?? (await anywhere(ctx, membership, seq));
  if (typeof found === 'string') return nothing(found);
  if (found.deleted) return nothing('not_found');
  return found.from === caller.user ? { target: { seq, id: found.id } } : nothing('forbidden');
}

interface Found {
  id: string;
  from: string;
  deleted: boolean;
}

/** In the log, which needs no archive. What was done to the message is passed on the way. */
async function nearTheEnd(ctx: GatewayContext, { channel, seq: head, last }: Membership, seq: number) {
  if (head - seq >= NEAR) return undefined;
  const { entries } = await ctx.verbs.walk(channel, last, seq, NEAR);
  let deleted = false;
  for (const entry of entries) {
    let row: ArchiveRow;
    try {
      row = rowOf(entry);
    } catch {
      return undefined; // set aside by the archiver: never a message
    }
    if (row.type === 'deleted' && row.target?.seq === seq) deleted = true;
    if (row.seq === seq) {
      return row.type === 'message' ? ({ id: row.id, from: row.from, deleted } satisfies Found) : 'not_found';
    }
  }
  return undefined;
}

async function anywhere(ctx: GatewayContext, membership: Membership, seq: number): Promise<Found | ChangeRefusal> {
  const page = await pageOf(ctx, membership, { after: seq - 1, before: seq + 1, limit: 1 });
  const [entry] = page.messages;
  if (entry === undefined) return page.complete_to < seq ? 'unavailable' : 'not_found';
  if (entry.type !== 'message') return 'not_found';
  return { id: entry.id, from: entry.from, deleted: entry.deleted === true };
}
