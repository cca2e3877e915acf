/** What each frame of a session that is up does. */
import { encodeAccepted } from '../../lib/protocol/encode.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import type { AckFrame, ClientFrame, ReadFrame, RefreshFrame, SendFrame } from '../../lib/protocol/frames.ts';
import { isPartyTo, parseChannel } from '../../lib/protocol/ids.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { accept, asMillraceError, targetOf } from './accept.ts';
import { changeMessage } from './changes.ts';
import type { Caller } from './context.ts';
import type { Hub } from './hub.ts';
import { identify } from './identify.ts';
import { membershipOf } from './membership.ts';
import { inOrder } from './ordered.ts';
import type { Session } from './session.ts';

/** A client repeats its latest reads at the beginning of a session, in case the old one ended over them. */
const REPEATS_MS = 60_000;

export async function handleFrame(hub: Hub, session: Session, frame: ClientFrame, metadata?: string): Promise<void> {
  const { caller } = session;
  if (!caller) return;
  try {
    if (isSend(frame)) hub.ctx.limits.send(caller.user);
    switch (frame.type) {
      case 'send':
        return await send(hub, session, caller, frame, metadata);
      case 'edit':
      case 'delete':
        return await changeMessage(hub, session, caller, frame);
      case 'ack':
        return ack(hub, session, caller, frame);
      case 'read':
        return await read(hub, session, caller, frame);
      case 'typing':
        return await hub.signals.typing.say(session, caller, frame);
      case 'watch':
        return await hub.signals.watches.watch(session, caller, frame);
      case 'unwatch':
        return hub.signals.watches.unwatch(session, frame);
      case 'ping': {
        const n = frame.n === undefined ? {} : { n: frame.n };
        return session.send({ type: 'pong', ...n, ts: Date.now(), ...refOf(frame) });
      }
      case 'refresh':
        return await refresh(hub, session, caller, frame);
      case 'hello':
        throw new MillraceError('bad_request', 'hello was said already');
    }
  } catch (error) {
    const refusal = asMillraceError(hub.ctx, error, frame.type);
    hub.ctx.metrics.errors.of(refusal.code).inc();
    const clientId = 'client_id' in frame ? { client_id: frame.client_id } : {};
    session.refuse(refusal, { ...refOf(frame), ...clientId });
  }
}

/** What the limit of sends counts: also what turns out to be a duplicate, or is refused. */
function isSend({ type }: ClientFrame): boolean {
  return type === 'send' || type === 'edit' || type === 'delete';
}

async function send(hub: Hub, session: Session, caller: Caller, frame: SendFrame, metadata: string | undefined) {
  const { channel } = targetOf(caller, frame);
  const submission = {
    channel,
    clientId: frame.client_id,
    content: frame.content,
    metadata,
    device: session.device,
  };
  // It ends the typing for those who get it: what is typed next is news to them.
  session.typed?.channels.delete(channel);
  const accepted = await inOrder(session, channel, () => accept(hub.ctx, hub.receipts, caller, submission));
  session.sendText(encodeAccepted({ ...accepted, ref: frame.ref }));
  // Of what one's only device sends no copy comes.
  hub.signals.watches.sights.met(session, [{ fields: ['type', 'message', 'channel', channel] }]);
}

function ack(hub: Hub, session: Session, caller: Caller, { offset }: AckFrame): void {
  if (compareIds(offset, session.offset) > 0) {
    throw new MillraceError('bad_request', 'offset: not sent in this session');
  }
  const { acked: from, device } = session;
  if (!session.ack(offset)) return;
  const again = compareIds(from, session.resumedTo) < 0;
  const covered = session.unacked?.take(offset) ?? { covers: new Map<string, number>(), unknownTo: ZERO };
  if (session.unacked?.empty) session.unacked = undefined;
  const few = !session.mayTrim();
  hub.acks.add(session.id, { user: caller.user, device, from, offset, again, few, ...covered });
}

async function read(hub: Hub, session: Session, caller: Caller, { channel, seq }: ReadFrame): Promise<void> {
  const { user } = caller;
  const parsed = parseChannel(channel);
  const again = performance.now() - session.openedAt < REPEATS_MS;
  const mark = { user, channel, device: session.device, delivered: seq, read: seq, again };
  if (parsed && isPartyTo(parsed, user) && (await hub.reads.add(session.id, mark))) return;
  // No such conversation: a channel without messages so far, or none of the caller's.
  await membershipOf(hub.ctx, { ...caller, service: false }, channel);
}

async function refresh(hub: Hub, session: Session, caller: Caller, frame: RefreshFrame): Promise<void> {
  try {
    const identity = await identify(hub.ctx, frame.token);
    if (identity.user !== session.subject) {
      throw new MillraceError('unauthenticated', 'the token is of another user');
    }
    // A session that acts for another goes on only for as long as its tokens give that right.
    if (caller.user !== identity.user && !identity.admin) {
      throw new MillraceError('forbidden', 'only a service token may act for another user');
    }
    session.caller = { ...caller, service: identity.admin };
    session.expiresAt = identity.expiresAt;
    session.send({ type: 'refreshed', expires: identity.expiresAt, ...refOf(frame) });
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code === 'unavailable') throw error;
    session.refuse(error, refOf(frame));
    session.close('unauthenticated');
  }
}

function refOf(frame: { ref?: string | undefined }): { ref?: string } {
  return frame.ref === undefined ? {} : { ref: frame.ref };
}
