/**
 * The names of things on the wire, and what may be in a text. Pure: the client library imports it in browsers.
 * Patterns are kept as sources because the JSON Schemas carry them too.
 */
import { REF_CHARACTERS } from './limits.ts';

const NAME = '[A-Za-z0-9_.-]{1,64}';

export const USER_ID = `^${NAME}$`;
export const CLIENT_ID = '^[!-~]{1,64}$';
export const GROUP_ID = `^g:${NAME}$`;
/** The order of a direct channel's two users cannot be said by a pattern: see parseChannel. */
export const CHANNEL_ID = `^(dm:${NAME}:${NAME}|g:${NAME})$`;
/** A stream id, both halves canonical. */
export const OFFSET = '^(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})$';
export const MESSAGE_ID = '^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$';

const userId = new RegExp(USER_ID);
const clientId = new RegExp(CLIENT_ID);
const groupId = new RegExp(GROUP_ID);
const offset = new RegExp(OFFSET);

export function isUserId(text: string): boolean {
  return userId.test(text);
}

/** Device ids have the form of user ids. */
export const isDeviceId = isUserId;

export function isClientId(text: string): boolean {
  return clientId.test(text);
}

const LARGEST_HALF = '18446744073709551615';

/** Whether the store would take it as a stream id: it answers an error, not "none", for a half over 64 bits. */
export function isOffset(text: string): boolean {
  if (text.length > 41 || !offset.test(text)) return false;
  if (text.length < LARGEST_HALF.length) return true;
  const dash = text.indexOf('-');
  return fitsHalf(text.slice(0, dash)) && fitsHalf(text.slice(dash + 1));
}

function fitsHalf(digits: string): boolean {
  return digits.length < LARGEST_HALF.length || digits <= LARGEST_HALF;
}

/** The direct channel of two users, in byte order (ids are ASCII, so JavaScript's string order is byte order). */
export function directChannel(a: string, b: string): string {
  return a <= b ? `dm:${a}:${b}` : `dm:${b}:${a}`;
}

export type Channel = { kind: 'direct'; a: string; b: string } | { kind: 'group' };

const GROUP: Channel = { kind: 'group' };

/** What a channel id names; undefined when malformed, two users in the wrong order included. */
export function parseChannel(id: string): Channel | undefined {
  if (id.startsWith('g:')) return groupId.test(id) ? GROUP : undefined;
  if (!id.startsWith('dm:')) return undefined;
  const colon = id.indexOf(':', 3);
  if (colon < 0) return undefined;
  const a = id.slice(3, colon);
  const b = id.slice(colon + 1);
  return a <= b && isUserId(a) && isUserId(b) ? { kind: 'direct', a, b } : undefined;
}

/** Whether a user may be in the channel by its name alone: groups need the store to tell. */
export function isPartyTo(channel: Channel, user: string): boolean {
  return channel.kind === 'group' || channel.a === user || channel.b === user;
}

/** The other one of a direct channel (oneself in notes to oneself); undefined in a group. */
export function peerOf(channel: string, user: string): string | undefined {
  const parsed = parseChannel(channel);
  return parsed?.kind === 'direct' ? (parsed.a === user ? parsed.b : parsed.a) : undefined;
}

/** Length in UTF-8 bytes; a lone surrogate counts as the three bytes of its replacement. */
export function utf8Bytes(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && isLow(text.charCodeAt(i + 1))) {
      // Two code units, four bytes.
      bytes += 2;
      i++;
    } else bytes += 2;
  }
  return bytes;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

/** Whether the text is at most this long in UTF-8; most texts are decided by their length alone. */
export function fitsUtf8(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return false;
  return text.length * 3 <= maxBytes || utf8Bytes(text) <= maxBytes;
}

/** Well-formed and at most so many characters, which are Unicode scalar values, as in JSON Schema. */
export function isText(text: string, maxCharacters: number): boolean {
  if (text.length > 2 * maxCharacters || !text.isWellFormed()) return false;
  return text.length <= maxCharacters || [...text].length <= maxCharacters;
}

export function isRef(text: string): boolean {
  return isText(text, REF_CHARACTERS);
}

export type TextProblem = 'bad_request' | 'too_large';

export function contentProblem(content: string, maxBytes: number): TextProblem | undefined {
  if (content.length === 0 || !content.isWellFormed()) return 'bad_request';
  return fitsUtf8(content, maxBytes) ? undefined : 'too_large';
}

/** Metadata as the compact JSON that is stored, or what is wrong with it. */
export function metadataJson(
  metadata: Readonly<Record<string, string>>,
  maxBytes: number,
): string | { problem: TextProblem } {
  for (const name of Object.keys(metadata)) {
    if (!name.isWellFormed() || !metadata[name]!.isWellFormed()) return { problem: 'bad_request' };
  }
  const json = JSON.stringify(metadata);
  return fitsUtf8(json, maxBytes) ? json : { problem: 'too_large' };
}
