/** The checks of HTTP: bodies, path parameters and queries, with the same codes as frames. */
import type Type from 'typebox';
import { type Checker, compileChecker, type JsonSchema } from './acceptable.ts';
import { MillraceError } from './errors.ts';
import { DEFAULT_LIMITS, type Limits } from './limits.ts';

/** Compiled when a call is first used: a process that serves no HTTP pays nothing. */
const compiled = new WeakMap<object, Checker>();

function checkerOf(schema: JsonSchema): Checker {
  let checker = compiled.get(schema);
  if (checker === undefined) {
    checker = compileChecker(schema);
    compiled.set(schema, checker);
  }
  return checker;
}

/** The value as its type. Throws MillraceError `bad_frame`, `bad_request` or `too_large`. */
export function checkBody<T extends Type.TSchema>(
  schema: T,
  value: unknown,
  limits: Limits = DEFAULT_LIMITS,
): Type.Static<T> {
  const checker = checkerOf(schema as JsonSchema);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new MillraceError('bad_frame', 'not a JSON object');
  }
  const refusal = checker.wrongType(value) ?? checker.notAcceptable(value, limits);
  if (refusal !== undefined) throw new MillraceError(refusal.code, refusal.message);
  return value as Type.Static<T>;
}

/**
 * The same for a query or path parameters, where everything comes as a string: integers are read from decimal digits,
 * lists from commas. A parameter given twice is of the wrong type; digits that are none are `bad_request`.
 */
export function checkQuery<T extends Type.TSchema>(schema: T, query: unknown): Type.Static<T> {
  const given = (query ?? {}) as Record<string, unknown>;
  const value: Record<string, unknown> = {};
  for (const [name, field] of Object.entries((schema as JsonSchema).properties ?? {})) {
    const text = Object.hasOwn(given, name) ? given[name] : undefined;
    if (text === undefined) continue;
    value[name] = typeof text === 'string' ? fromText(name, text, field) : text;
  }
  return checkBody(schema, value);
}

/** Path parameters, as given by the router (already percent-decoded). */
export const checkPath = checkQuery;

function fromText(name: string, text: string, field: JsonSchema): unknown {
  if (field.type === 'array') return text === '' ? [] : text.split(',');
  if (field.type !== 'integer') return text;
  if (!/^-?[0-9]{1,16}$/.test(text)) throw new MillraceError('bad_request', `${name}: must be integer`);
  return Number(text);
}
