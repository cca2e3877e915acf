/**
 * Every frame of the WebSocket, once: from here come the static types, the run-time checks and the AsyncAPI document.
 * Field order is the order in which frames are written.
 */
import Type from 'typebox';
import {
  ChannelId,
  ClientId,
  Content,
  Count,
  DeviceId,
  LimitsSchema,
  MemberAction,
  MessageId,
  Metadata,
  Nullable,
  Offset,
  PresenceStatus,
  Ref,
  Role,
  Seq,
  SessionId,
  Time,
  Title,
  Token,
  UserId,
  Watermark,
} from './atoms.ts';
import { ERROR_CODES } from './errors.ts';

const { Optional, Literal, Boolean: Flag, Integer, String: Text, Array: List } = Type;

function frame<const Name extends string, Fields extends Type.TProperties>(
  name: Name,
  description: string,
  fields: Fields,
  options: Type.TSchemaOptions = {},
) {
  return Type.Object({ type: Literal(name), ...fields }, { description, ...options });
}

const ref = Optional(Ref);

/** Exactly one of `channel` and `to`. */
export const ONE_TARGET = { oneOf: [{ required: ['channel'] }, { required: ['to'] }] };

export const clientFrames = {
  hello: frame('hello', 'The first frame, within 10 s.', {
    token: Optional(Token),
    device: DeviceId,
    since: Optional(Offset),
    user: Optional(UserId),
    ref,
  }),
  send: frame(
    'send',
    'Sends a message; answered by accepted.',
    {
      client_id: ClientId,
      channel: Optional(ChannelId),
      to: Optional(UserId),
      content: Content,
      metadata: Optional(Metadata),
      ref,
    },
    ONE_TARGET,
  ),
  ack: frame('ack', 'Everything up to this offset has been received by this device.', { offset: Offset, ref }),
  read: frame('read', 'Read up to seq: cumulative, monotonic.', { channel: ChannelId, seq: Seq, ref }),
  edit: frame('edit', 'Replaces the content of one’s own message; answered by accepted.', {
    client_id: ClientId,
    channel: ChannelId,
    seq: Seq,
    content: Content,
    ref,
  }),
  delete: frame('delete', 'Deletes one’s own message; answered by accepted.', {
    client_id: ClientId,
    channel: ChannelId,
    seq: Seq,
    ref,
  }),
  typing: frame('typing', 'Ephemeral, to the members’ live sessions.', { channel: ChannelId, on: Flag(), ref }),
  watch: frame(
    'watch',
    'Watches the presence of users; answered by one presence per user. Changes of a user whom very many watch come only to the first of a gateway that did; the others ask.',
    { users: List(UserId), ref },
  ),
  unwatch: frame('unwatch', 'Ends watching.', { users: List(UserId), ref }),
  refresh: frame('refresh', 'A newer token for the same user; answered by refreshed.', { token: Token, ref }),
  ping: frame('ping', 'The heartbeat; answered by pong.', {
    n: Optional(Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER })),
    ref,
  }),
};

/** What the seq-carrying frames share; in history they come without the offset. */
const position = { channel: ChannelId, seq: Seq, id: MessageId };

export const messageFields = {
  ...position,
  from: UserId,
  client_id: ClientId,
  ts: Time,
  content: Content,
  metadata: Optional(Metadata),
};
const changeFields = { ...position, target: Seq, from: UserId, client_id: ClientId, ts: Time };
export const editedFields = { ...changeFields, content: Content };
export const deletedFields = changeFields;
export const createdFields = { ...position, title: Optional(Title), by: UserId, ts: Time };
export const renamedFields = { ...position, title: Title, by: UserId, ts: Time };
export const memberFields = { ...position, user: UserId, action: MemberAction, role: Role, by: UserId, ts: Time };
export const acceptedFields = {
  client_id: ClientId,
  channel: ChannelId,
  seq: Seq,
  id: MessageId,
  ts: Time,
  duplicate: Flag({ description: 'Whether this client_id had been accepted before.' }),
};
export const presenceFields = {
  user: UserId,
  status: PresenceStatus,
  last_seen: Nullable(Time, 'While online: since when. Null: never, or not to be known.'),
};

export const serverFrames = {
  welcome: frame('welcome', 'The session is up.', {
    user: UserId,
    device: DeviceId,
    session: SessionId,
    offset: Offset,
    resumed: Flag({ description: 'False on this device’s first hello.' }),
    heartbeat_ms: Count,
    limits: LimitsSchema,
  }),
  gap: frame('gap', 'What lies between was trimmed: fill it from history.', {
    since: Offset,
    oldest: Nullable(Offset, 'The oldest event still there.'),
    channels: List(Type.Object({ channel: ChannelId, last_seq: Watermark })),
  }),
  message: frame('message', 'One message.', { offset: Offset, ...messageFields }),
  edited: frame('edited', 'A message has new content.', { offset: Offset, ...editedFields }),
  deleted: frame('deleted', 'A message is gone.', { offset: Offset, ...deletedFields }),
  created: frame('created', 'A group now exists and you are in it.', { offset: Offset, ...createdFields }),
  renamed: frame('renamed', 'A group has another title.', { offset: Offset, ...renamedFields }),
  member: frame('member', 'Somebody was added, removed, or has another role.', { offset: Offset, ...memberFields }),
  receipt: frame('receipt', 'A member’s watermarks as they are now.', {
    offset: Offset,
    channel: ChannelId,
    user: UserId,
    delivered: Watermark,
    read: Watermark,
    ts: Time,
  }),
  live: frame('live', 'The replay is over.', { offset: Offset }),
  accepted: frame('accepted', 'Durable.', { ...acceptedFields, ref }),
  presence: frame('presence', 'Whether a watched user is online.', { ...presenceFields, ref }),
  typing: frame('typing', 'A member is typing, or no longer.', { channel: ChannelId, user: UserId, on: Flag() }),
  refreshed: frame('refreshed', 'The newer token holds.', { expires: Time, ref }),
  pong: frame('pong', 'The answer to ping.', { n: Optional(Integer()), ts: Time, ref }),
  goaway: frame('goaway', 'Finish what is in flight, then reconnect after the delay.', {
    reason: Text(),
    reconnect_in_ms: Count,
    grace_ms: Count,
  }),
  error: frame('error', 'A frame was refused.', {
    code: Type.Enum(ERROR_CODES),
    message: Text(),
    client_id: Optional(ClientId),
    ref,
    retry_after_ms: Optional(Count),
  }),
};

export type ClientFrameType = keyof typeof clientFrames;
export type ServerFrameType = keyof typeof serverFrames;
export type ClientFrameOf<T extends ClientFrameType> = Type.Static<(typeof clientFrames)[T]>;
export type ServerFrameOf<T extends ServerFrameType> = Type.Static<(typeof serverFrames)[T]>;
export type ClientFrame = { [T in ClientFrameType]: ClientFrameOf<T> }[ClientFrameType];
export type ServerFrame = { [T in ServerFrameType]: ServerFrameOf<T> }[ServerFrameType];

export type HelloFrame = ClientFrameOf<'hello'>;
export type SendFrame = ClientFrameOf<'send'>;
export type AckFrame = ClientFrameOf<'ack'>;
export type ReadFrame = ClientFrameOf<'read'>;
export type EditFrame = ClientFrameOf<'edit'>;
export type DeleteFrame = ClientFrameOf<'delete'>;
export type TypingFrame = ClientFrameOf<'typing'>;
export type WatchFrame = ClientFrameOf<'watch'>;
export type UnwatchFrame = ClientFrameOf<'unwatch'>;
export type RefreshFrame = ClientFrameOf<'refresh'>;
export type PingFrame = ClientFrameOf<'ping'>;

export type WelcomeFrame = ServerFrameOf<'welcome'>;
export type GapFrame = ServerFrameOf<'gap'>;
export type MessageFrame = ServerFrameOf<'message'>;
export type EditedFrame = ServerFrameOf<'edited'>;
export type DeletedFrame = ServerFrameOf<'deleted'>;
export type CreatedFrame = ServerFrameOf<'created'>;
export type RenamedFrame = ServerFrameOf<'renamed'>;
export type MemberFrame = ServerFrameOf<'member'>;
export type ReceiptFrame = ServerFrameOf<'receipt'>;
export type LiveFrame = ServerFrameOf<'live'>;
export type AcceptedFrame = ServerFrameOf<'accepted'>;
export type PresenceFrame = ServerFrameOf<'presence'>;
export type TypedFrame = ServerFrameOf<'typing'>;
export type RefreshedFrame = ServerFrameOf<'refreshed'>;
export type PongFrame = ServerFrameOf<'pong'>;
export type GoawayFrame = ServerFrameOf<'goaway'>;
export type ErrorFrame = ServerFrameOf<'error'>;

/** The frames with an offset that carry a channel's sequence. */
export type EventFrame = MessageFrame | EditedFrame | DeletedFrame | CreatedFrame | RenamedFrame | MemberFrame;
