/** Whether what came over the wire is what the reference says: every field that it must have, and not one more. */
import type Type from 'typebox';
import { Compile } from 'typebox/schema';

type Checked = { Check(value: unknown): boolean; Errors(value: unknown): [boolean, unknown[]] };
const compiled = new WeakMap<object, Checked>();

export function expectExactly(schema: Type.TSchema, value: unknown, what: string): void {
  let check = compiled.get(schema);
  if (check === undefined) {
    check = Compile(closed(JSON.parse(JSON.stringify(schema))) as Type.TSchema) as Checked;
    compiled.set(schema, check);
  }
  if (check.Check(value)) return;
  throw new Error(`${what} is not as the reference says: ${JSON.stringify([value, check.Errors(value)[1]])}`);
}

/** Unknown fields are for clients to ignore, and for us not to send. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]));
  return 'properties' in schema && !('additionalProperties' in schema)
    ? { ...copy, additionalProperties: false }
    : copy;
}
