/**
 * Every body, query and answer of the HTTP calls, once: from here come the static types, the run-time checks and the
 * OpenAPI document (calls.ts says which call has which).
 */
import Type from 'typebox';
import {
  ChannelId,
  ClientId,
  Content,
  Count,
  DeviceId,
  Metadata,
  Nullable,
  Offset,
  Platform,
  Role,
  Seq,
  Time,
  Title,
  UserId,
  Watermark,
} from './atoms.ts';
import { ERROR_CODES } from './errors.ts';
import {
  acceptedFields,
  createdFields,
  deletedFields,
  editedFields,
  memberFields,
  messageFields,
  ONE_TARGET,
  presenceFields,
  renamedFields,
} from './frames.ts';
import { CONVERSATIONS_PAGE, HISTORY_PAGE, PRESENCE_USERS, PUSH_TOKEN_BYTES } from './limits.ts';

const { Object: Shape, Optional, Literal, Boolean: Flag, Integer, String: Text, Array: List, Union, Enum } = Type;

// Path parameters.
export const ChannelPath = Shape({ channel: ChannelId });
export const MessagePath = Shape({ channel: ChannelId, seq: Seq });
export const MemberPath = Shape({ channel: ChannelId, user: UserId });
export const DevicePath = Shape({ device: DeviceId });
export const UserPath = Shape({ user: UserId });

// Messages.
export const PostMessage = Shape(
  {
    channel: Optional(ChannelId),
    to: Optional(UserId),
    content: Content,
    client_id: ClientId,
    metadata: Optional(Metadata),
  },
  ONE_TARGET,
);
export const PatchMessage = Shape({ client_id: ClientId, content: Content });
export const DeleteMessage = Shape({ client_id: ClientId });
/** A deletion's client_id may come here instead of in a body, which many clients cannot send with DELETE. */
export const DeleteMessageQuery = Shape({ client_id: Optional(ClientId) });
export const Accepted = Shape(acceptedFields);

export const HistoryQuery = Shape(
  {
    before: Optional(Seq),
    after: Optional(Watermark),
    limit: Optional(Integer({ minimum: 1, maximum: HISTORY_PAGE.max, default: HISTORY_PAGE.default })),
  },
  { not: { required: ['before', 'after'] }, description: 'Both bounds are exclusive; not both at once.' },
);

const { content, metadata, ...messageHead } = messageFields;
const { content: newContent, ...editedHead } = editedFields;

export const historyEntries = {
  message: Shape({
    type: Literal('message'),
    ...messageHead,
    content: Optional(content),
    metadata,
    edited_at: Optional(Time),
    deleted: Optional(Flag({ description: 'True: neither content nor metadata.' })),
  }),
  edited: Shape({
    type: Literal('edited'),
    ...editedHead,
    content: Optional({ ...newContent, description: 'Absent once the message is deleted.' }),
  }),
  deleted: Shape({ type: Literal('deleted'), ...deletedFields }),
  created: Shape({ type: Literal('created'), ...createdFields }),
  renamed: Shape({ type: Literal('renamed'), ...renamedFields }),
  member: Shape({ type: Literal('member'), ...memberFields }),
};
export const HistoryEntry = Union([
  historyEntries.message,
  historyEntries.edited,
  historyEntries.deleted,
  historyEntries.created,
  historyEntries.renamed,
  historyEntries.member,
]);
export const History = Shape({
  messages: List(HistoryEntry, {
    description: 'Dense in seq; newest first with before or without bounds, oldest first with after.',
  }),
  last_seq: Watermark,
  complete_to: Type.Integer({ minimum: 0, description: 'Everything up to this seq is here or void.' }),
});

// Channels and members.
export const PostChannel = Shape({
  title: Optional(Title),
  members: List(UserId, { description: 'At most limits.group_members (500) with the creator.' }),
  client_id: Optional(ClientId),
});
export const PatchChannel = Shape({ title: Title });
export const ChannelInfo = Shape({
  channel: ChannelId,
  title: Nullable(Title, 'Null: none, or a direct channel.'),
  owner: Nullable(UserId, 'Null for a direct channel.'),
  last_seq: Watermark,
  role: Nullable(Role, 'One’s own role; null for a direct channel, or for a service that is no member.'),
  members: Integer({ minimum: 0, description: 'How many.' }),
});
export const PutMember = Shape({ role: Optional(Role) });
export const MemberInfo = Shape({ user: UserId, role: Nullable(Role, 'Null in a direct channel.'), since: Watermark });
export const Members = Shape({ members: List(MemberInfo) });
export const Receipts = Shape({ receipts: List(Shape({ user: UserId, delivered: Watermark, read: Watermark })) });

// Conversations.
export const ConversationsQuery = Shape({
  limit: Optional(Integer({ minimum: 1, maximum: CONVERSATIONS_PAGE.max, default: CONVERSATIONS_PAGE.default })),
  cursor: Optional(Text({ minLength: 1, maxLength: 256, description: '`next` of the page before.' })),
});
export const Conversation = Shape({
  channel: ChannelId,
  title: Optional(Title),
  last_seq: Watermark,
  read_seq: Watermark,
  unread: Count,
  left: Optional(Flag({ description: 'True: no longer a member.' })),
  peer: Optional(Shape({ delivered: Watermark, read: Watermark }, { description: 'Direct channels: the other’s.' })),
  last_message: Nullable(
    Shape({ seq: Seq, from: UserId, ts: Time, snippet: Text() }),
    'Null while the channel has only events.',
  ),
});
export const Conversations = Shape({
  conversations: List(Conversation, { description: 'Latest first.' }),
  unread_total: Count,
  offset: Offset,
  next: Optional(Text({ description: 'Cursor of the next page; absent on the last.' })),
});

// Presence, devices, blocks.
export const PresenceQuery = Shape({
  users: List(UserId, { minItems: 1, maxItems: PRESENCE_USERS, description: 'Separated by commas.' }),
});
export const Presence = Shape({ presence: List(Shape(presenceFields)) });
export const PutDevice = Shape({
  platform: Platform,
  push_token: Text({ minLength: 1, maxLength: PUSH_TOKEN_BYTES }),
});
export const DeviceInfo = Shape({
  device: DeviceId,
  platform: Optional(Platform),
  push: Flag({ description: 'Whether a push token is registered.' }),
  last_seen: Nullable(Time),
  connected: Flag(),
});
export const Devices = Shape({ devices: List(DeviceInfo) });
export const Blocks = Shape({ blocks: List(UserId) });

// Erasure and export.
export const Erasure = Shape({ state: Enum(['none', 'running', 'done']), since: Nullable(Time, 'Null: none.') });
export const ExportLine = Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true });

// Health, errors.
export const Health = Shape({
  status: Literal('ok'),
  service: Literal('millrace'),
  pid: Integer(),
  roles: Text({ description: 'What the process does, separated by commas.' }),
});
export const Readiness = Shape({
  status: Enum(['ready', 'not ready']),
  parts: Type.Unsafe<Record<string, string>>({
    type: 'object',
    additionalProperties: { type: 'string' },
    description: 'redis, archive …, each with its state in a word or two; the archive alone makes nobody unready.',
  }),
});
export const ErrorAnswer = Shape({
  error: Shape({ code: Enum(ERROR_CODES), message: Text(), retry_after_ms: Optional(Count) }),
});

export type PostMessage = Type.Static<typeof PostMessage>;
export type PatchMessage = Type.Static<typeof PatchMessage>;
export type DeleteMessage = Type.Static<typeof DeleteMessage>;
export type DeleteMessageQuery = Type.Static<typeof DeleteMessageQuery>;
export type Accepted = Type.Static<typeof Accepted>;
export type HistoryQuery = Type.Static<typeof HistoryQuery>;
export type HistoryEntry = Type.Static<typeof HistoryEntry>;
export type HistoryMessage = Type.Static<(typeof historyEntries)['message']>;
export type History = Type.Static<typeof History>;
export type PostChannel = Type.Static<typeof PostChannel>;
export type PatchChannel = Type.Static<typeof PatchChannel>;
export type ChannelInfo = Type.Static<typeof ChannelInfo>;
export type PutMember = Type.Static<typeof PutMember>;
export type MemberInfo = Type.Static<typeof MemberInfo>;
export type Members = Type.Static<typeof Members>;
export type Receipts = Type.Static<typeof Receipts>;
export type ConversationsQuery = Type.Static<typeof ConversationsQuery>;
export type Conversation = Type.Static<typeof Conversation>;
export type Conversations = Type.Static<typeof Conversations>;
export type PresenceQuery = Type.Static<typeof PresenceQuery>;
export type Presence = Type.Static<typeof Presence>;
export type PutDevice = Type.Static<typeof PutDevice>;
export type DeviceInfo = Type.Static<typeof DeviceInfo>;
export type Devices = Type.Static<typeof Devices>;
export type Blocks = Type.Static<typeof Blocks>;
export type Erasure = Type.Static<typeof Erasure>;
export type Health = Type.Static<typeof Health>;
export type Readiness = Type.Static<typeof Readiness>;
export type ErrorAnswer = Type.Static<typeof ErrorAnswer>;
