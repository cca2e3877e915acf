/**
 * The values that frames and HTTP bodies are made of, once each. A schema holds the type and, where JSON Schema can say
 * it, everything else that makes a value acceptable; parse.ts compiles the types alone from the same schemas.
 */
import Type from 'typebox';
import { CHANNEL_ID, CLIENT_ID, MESSAGE_ID, OFFSET, USER_ID } from './ids.ts';
import { REF_CHARACTERS, TITLE_CHARACTERS } from './limits.ts';

const MAX_SEQ = Number.MAX_SAFE_INTEGER;

export const UserId = Type.String({ pattern: USER_ID, description: 'A user id: 1–64 of A–Z a–z 0–9 _ . -' });
export const DeviceId = Type.String({ pattern: USER_ID, description: 'A device id: 1–64 of A–Z a–z 0–9 _ . -' });
export const ClientId = Type.String({
  pattern: CLIENT_ID,
  description:
    'Chosen by the sender, unique per sender and channel (a UUID is best): 1–64 printable ASCII characters without ' +
    'spaces. The same one again within an hour gets the first answer again.',
});
export const ChannelId = Type.String({
  pattern: CHANNEL_ID,
  description: 'dm:<a>:<b> with the two user ids in byte order, or g:<id> as made by the server.',
});
export const Offset = Type.String({
  pattern: OFFSET,
  description: 'Opaque: store it and hand it back; only equality means something.',
});
export const Seq = Type.Integer({
  minimum: 1,
  maximum: MAX_SEQ,
  description: 'Sequence number in the channel, without holes over messages and events together.',
});
/** A number of a sequence where 0 stands for "none yet". */
export const Watermark = Type.Integer({ minimum: 0, maximum: MAX_SEQ, description: 'A sequence number; 0: none yet.' });
export const Count = Type.Integer({ minimum: 0 });
export const Time = Type.Integer({ minimum: 0, description: 'Unix milliseconds, the store’s clock.' });
export const MessageId = Type.String({ pattern: MESSAGE_ID, format: 'uuid', description: 'A time-UUID (version 1).' });
export const SessionId = Type.String({ description: 'Names this session in logs.' });
export const Ref = Type.String({
  maxLength: REF_CHARACTERS,
  description: 'Chosen by the client, echoed in the frame that answers this one.',
});
export const Token = Type.String({ description: 'A JWT.' });
export const Content = Type.String({
  minLength: 1,
  description:
    'Well-formed Unicode, never trimmed or normalised, of 1 byte to limits.content_bytes (8 KiB) in UTF-8. ' +
    'Lone surrogates are refused.',
});
/** additionalProperties and not a pattern over names: `^.*$` would let a name with a line break through unchecked. */
export const Metadata = Type.Unsafe<Record<string, string>>({
  type: 'object',
  additionalProperties: { type: 'string' },
  description: 'A flat object of strings, at most limits.metadata_bytes (2 KiB) of UTF-8 as compact JSON.',
});
export const Title = Type.String({ minLength: 1, maxLength: TITLE_CHARACTERS, description: 'A group’s title.' });
export const Role = Type.Enum(['owner', 'admin', 'member'], { description: 'A member’s role in a group.' });
export const MemberAction = Type.Enum(['added', 'removed', 'role']);
export const PresenceStatus = Type.Enum(['online', 'offline']);
export const Platform = Type.Enum(['android', 'ios', 'web']);

export type Role = Type.Static<typeof Role>;
export type MemberAction = Type.Static<typeof MemberAction>;
export type PresenceStatus = Type.Static<typeof PresenceStatus>;
export type Platform = Type.Static<typeof Platform>;

export function Nullable<T extends Type.TSchema>(schema: T, description?: string) {
  return Type.Union([schema, Type.Null()], description === undefined ? {} : { description });
}

export const LimitsSchema = Type.Object(
  {
    sends_per_s: Type.Number({ description: 'Sends per second and user, in the long run.' }),
    burst: Type.Integer({ description: 'Sends at once after a quiet time.' }),
    content_bytes: Type.Integer(),
    metadata_bytes: Type.Integer(),
    frame_bytes: Type.Integer({ description: 'One WebSocket frame.' }),
    sessions: Type.Integer({ description: 'Sessions of one user at once.' }),
    watched: Type.Integer({ description: 'Users whose presence a session watches.' }),
    group_members: Type.Integer({ description: 'Members of a group, its creator included.' }),
    receipts_up_to: Type.Integer({ description: 'Groups up to this size tell the members of the others’ receipts.' }),
  },
  { description: 'What this deployment allows.' },
);
