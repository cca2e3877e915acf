/**
 * From a schema the two checks it stands for: whether a value has the types (`bad_frame` otherwise), and whether it is
 * acceptable (`bad_request`, `too_large`). Compiled once per schema; a schema is interpreted only to word a refusal.
 */
import { Compile } from 'typebox/schema';
import type { ErrorCode } from './errors.ts';
import {
  contentProblem,
  fitsUtf8,
  isOffset,
  isRef,
  isText,
  metadataJson,
  parseChannel,
  type TextProblem,
} from './ids.ts';
import { type Limits, PUSH_TOKEN_BYTES, TITLE_CHARACTERS } from './limits.ts';

export interface Refusal {
  code: Extract<ErrorCode, 'bad_frame' | 'bad_request' | 'too_large'>;
  message: string;
}

/** As much of JSON Schema as our own schemas use. */
export interface JsonSchema {
  type?: string;
  const?: unknown;
  enum?: readonly unknown[];
  properties?: Record<string, JsonSchema>;
  required?: readonly string[];
  items?: JsonSchema;
  additionalProperties?: boolean | JsonSchema;
}

export interface Checker {
  /** undefined, or `bad_frame`. The message names fields and never repeats values. */
  wrongType(value: unknown): Refusal | undefined;
  /** Of a value that has the types: undefined, `bad_request` or `too_large`. */
  notAcceptable(value: object, limits: Limits): Refusal | undefined;
}

/**
 * The schema with nothing but types: no patterns, bounds or lengths, and any string where one of a few is wanted
 * (an unknown word is of the right type). `loose` fields are left unchecked.
 */
export function typesOf(schema: JsonSchema, loose: readonly string[] = []): JsonSchema {
  if (schema.enum !== undefined || typeof schema.const === 'string') return { type: 'string' };
  const types: JsonSchema = {};
  if (schema.type !== undefined) types.type = schema.type;
  if (schema.properties !== undefined) {
    const fields = Object.entries(schema.properties).filter(([name]) => !loose.includes(name));
    types.properties = Object.fromEntries(fields.map(([name, field]) => [name, typesOf(field)]));
    types.required = (schema.required ?? []).filter((name) => !loose.includes(name));
  }
  if (schema.items !== undefined) types.items = typesOf(schema.items);
  if (typeof schema.additionalProperties === 'object')
    types.additionalProperties = typesOf(schema.additionalProperties);
  return types;
}

export function compileChecker(schema: JsonSchema, loose: readonly string[] = []): Checker {
  const types = Compile(typesOf(schema, loose));
  const whole = Compile(schema);
  const beyond = rulesOf(schema);
  return {
    wrongType: (value) => (types.Check(value) ? undefined : refuse('bad_frame', describe(types.Errors(value)))),
    notAcceptable: (value, limits) =>
      whole.Check(value) ? beyond(value, limits) : refuse('bad_request', describe(whole.Errors(value))),
  };
}

function describe([, errors]: [boolean, { instancePath: string; message: string }[]]): string {
  const first = errors[0];
  if (first === undefined) return 'not acceptable';
  // Own names only: a path may hold a name of the sender's choosing (in metadata), which is not worth repeating.
  const field = first.instancePath.split('/')[1];
  return field === undefined ? first.message : `${field}: ${first.message}`;
}

type Rule = (value: unknown, limits: Limits) => Refusal | undefined;

/**
 * What JSON Schema cannot say, by field: a name means the same thing in every frame and body. Applied after the schema,
 * so that a value given here has its field's type.
 */
const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['channel', (id) => (parseChannel(id as string) === undefined ? REFUSALS.channel : undefined)],
  ['since', (offset) => (isOffset(offset as string) ? undefined : REFUSALS.since)],
  ['offset', (offset) => (isOffset(offset as string) ? undefined : REFUSALS.offset)],
  ['content', contentRule],
  ['metadata', metadataRule],
  ['title', (title) => (isText(title as string, TITLE_CHARACTERS) ? undefined : REFUSALS.title)],
  ['push_token', pushTokenRule],
  ['cursor', (cursor) => ((cursor as string).isWellFormed() ? undefined : REFUSALS.cursor)],
  ['ref', (ref) => (isRef(ref as string) ? undefined : REFUSALS.ref)],
]);

function pushTokenRule(token: unknown): Refusal | undefined {
  const text = token as string;
  return text !== '' && text.isWellFormed() && fitsUtf8(text, PUSH_TOKEN_BYTES) ? undefined : REFUSALS.push_token;
}

function contentRule(content: unknown, limits: Limits): Refusal | undefined {
  const problem = contentProblem(content as string, limits.content_bytes);
  return problem === undefined ? undefined : contentRefusal(problem);
}

function metadataRule(metadata: unknown, limits: Limits): Refusal | undefined {
  const json = metadataJson(metadata as Record<string, string>, limits.metadata_bytes);
  return typeof json === 'string' ? undefined : metadataRefusal(json.problem);
}

/** The rules of a schema's own fields: unknown fields are ignored, whatever their names. */
function rulesOf(schema: JsonSchema): (value: object, limits: Limits) => Refusal | undefined {
  const rules = [...RULES].filter(([name]) => Object.hasOwn(schema.properties ?? {}, name));
  return (value, limits) => {
    const fields = value as Record<string, unknown>;
    for (const [name, rule] of rules) {
      const field = fields[name];
      const refusal = field === undefined ? undefined : rule(field, limits);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  };
}

function refuse(code: Refusal['code'], message: string): Refusal {
  return { code, message };
}

export const REFUSALS = {
  channel: refuse('bad_request', 'channel: not a channel id (dm:<a>:<b> in byte order, or g:<id>)'),
  target: refuse('bad_request', 'exactly one of channel and to is needed'),
  to: refuse('bad_request', 'to: not a user id'),
  client_id: refuse('bad_request', 'client_id: 1–64 printable ASCII characters without spaces'),
  ref: refuse('bad_request', 'ref: at most 64 well-formed characters'),
  since: refuse('bad_request', 'since: not an offset'),
  offset: refuse('bad_request', 'offset: not an offset'),
  cursor: refuse('bad_request', 'cursor: not a cursor'),
  title: refuse('bad_request', 'title: 1–200 well-formed characters'),
  push_token: refuse('bad_request', 'push_token: at most 4 KiB of well-formed text'),
} as const;

const CONTENT = refuse('bad_request', 'content: must not be empty nor hold lone surrogates');
const CONTENT_SIZE = refuse('too_large', 'content: over the limit');
const METADATA = refuse('bad_request', 'metadata: must not hold lone surrogates');
const METADATA_SIZE = refuse('too_large', 'metadata: over the limit');

export function contentRefusal(problem: TextProblem): Refusal {
  return problem === 'too_large' ? CONTENT_SIZE : CONTENT;
}

export function metadataRefusal(problem: TextProblem): Refusal {
  return problem === 'too_large' ? METADATA_SIZE : METADATA;
}
