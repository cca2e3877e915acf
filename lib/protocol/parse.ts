/**
 * From a text frame to a typed one, or to the error that answers it. Two steps: a compiled check of the types alone
 * (`bad_frame`), then what makes the values acceptable (`bad_request`, `too_large`). The second is written by hand for
 * `send` and `ack`, the frames that come by the thousand, and compiled from the schema for the others.
 */
import {
  type Checker,
  compileChecker,
  contentRefusal,
  type JsonSchema,
  metadataRefusal,
  REFUSALS,
  type Refusal,
} from './acceptable.ts';
import {
  type AckFrame,
  type ClientFrame,
  type ClientFrameType,
  clientFrames,
  type HelloFrame,
  type SendFrame,
} from './frames.ts';
import { contentProblem, isClientId, isOffset, isRef, isUserId, metadataJson, parseChannel } from './ids.ts';
import type { Limits } from './limits.ts';

export interface ParsedFrame {
  frame: ClientFrame;
  error?: never;
  /** Of a `send` with metadata: the compact JSON to store. */
  metadataJson?: string;
}

export interface FrameError extends Refusal {
  /** Echoed when itself acceptable. */
  ref?: string;
  client_id?: string;
}

export type ParseResult = ParsedFrame | { error: FrameError; frame?: never; metadataJson?: never };

/**
 * A wrongly typed token is not a malformed hello but a failed authentication (4001): it is checked as an empty one,
 * which no verifier takes.
 */
const LOOSE: Partial<Record<ClientFrameType, readonly string[]>> = { hello: ['token'] };

/** A Map and not an object: a frame's type may be "constructor". */
const checkers: ReadonlyMap<string, Checker> = new Map(
  Object.entries(clientFrames).map(([name, schema]) => [
    name,
    compileChecker(schema as JsonSchema, LOOSE[name as ClientFrameType]),
  ]),
);

/**
 * Never throws. Unknown fields are ignored, but still there in the frame (`__proto__` as an own property): read known
 * fields by name, and do not `Object.assign` from it.
 */
export function parseClientFrame(text: string, limits: Limits): ParseResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which is the sender's and may be long.
    return { error: { code: 'bad_frame', message: 'not JSON' } };
  }
  if (!isObject(value)) return { error: { code: 'bad_frame', message: 'not a JSON object' } };
  const { type } = value;
  if (typeof type !== 'string') return refused(value, { code: 'bad_frame', message: 'type: must be string' });
  const checker = checkers.get(type);
  if (checker === undefined) return refused(value, { code: 'bad_frame', message: 'type: unknown' });
  const mistyped = checker.wrongType(value);
  if (mistyped !== undefined) return refused(value, mistyped);

  const frame = value as unknown as ClientFrame;
  if (frame.type === 'send') return acceptSend(frame, limits);
  if (frame.type === 'ack') return isAcceptableAck(frame) ? { frame } : refused(value, ackRefusal(frame));
  if (frame.type === 'hello') blankBadToken(frame);
  const refusal = checker.notAcceptable(frame, limits) ?? tooManyUsers(frame, limits);
  return refusal === undefined ? { frame } : refused(value, refusal);
}

function acceptSend(frame: SendFrame, limits: Limits): ParseResult {
  const { channel, to, metadata } = frame;
  const problem = contentProblem(frame.content, limits.content_bytes);
  let refusal: Refusal | undefined;
  if (!isClientId(frame.client_id)) refusal = REFUSALS.client_id;
  else if ((channel === undefined) === (to === undefined)) refusal = REFUSALS.target;
  else if (channel !== undefined && parseChannel(channel) === undefined) refusal = REFUSALS.channel;
  else if (to !== undefined && !isUserId(to)) refusal = REFUSALS.to;
  else if (frame.ref !== undefined && !isRef(frame.ref)) refusal = REFUSALS.ref;
  else if (problem !== undefined) refusal = contentRefusal(problem);
  if (refusal !== undefined) return refused(frame, refusal);
  if (metadata === undefined) return { frame };
  const json = metadataJson(metadata, limits.metadata_bytes);
  return typeof json === 'string' ? { frame, metadataJson: json } : refused(frame, metadataRefusal(json.problem));
}

function isAcceptableAck(frame: AckFrame): boolean {
  return isOffset(frame.offset) && (frame.ref === undefined || isRef(frame.ref));
}

function ackRefusal(frame: AckFrame): Refusal {
  return isOffset(frame.offset) ? REFUSALS.ref : REFUSALS.offset;
}

function blankBadToken(frame: HelloFrame): void {
  const { token } = frame;
  if (token === undefined) return;
  if (typeof token !== 'string' || !(token as string).isWellFormed()) frame.token = '';
}

function tooManyUsers(frame: ClientFrame, limits: Limits): Refusal | undefined {
  if (frame.type !== 'watch' && frame.type !== 'unwatch') return undefined;
  if (frame.users.length <= limits.watched) return undefined;
  return { code: 'bad_request', message: `users: at most ${limits.watched}` };
}

function refused(value: { ref?: unknown; client_id?: unknown }, refusal: Refusal): { error: FrameError } {
  const error: FrameError = { code: refusal.code, message: refusal.message };
  if (typeof value.ref === 'string' && isRef(value.ref)) error.ref = value.ref;
  if (typeof value.client_id === 'string' && isClientId(value.client_id)) error.client_id = value.client_id;
  return { error };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
