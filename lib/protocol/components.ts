/** The named schemas of both reference documents, and references to them. */
import type Type from 'typebox';
import * as atoms from './atoms.ts';
import * as http from './http.ts';

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

export type Describe = (schema: Type.TSchema, self?: string) => JsonObject;

const ENTRY_NAMES: Record<keyof typeof http.historyEntries, string> = {
  message: 'HistoryMessage',
  edited: 'HistoryEdited',
  deleted: 'HistoryDeleted',
  created: 'HistoryCreated',
  renamed: 'HistoryRenamed',
  member: 'HistoryMember',
};

function isSchema(value: unknown): value is Type.TSchema {
  return typeof value === 'object' && value !== null && ['type', 'anyOf', 'enum'].some((key) => key in value);
}

/** Sorted: loaders differ in the order in which they list a module's exports. */
function named(module: object): [string, Type.TSchema][] {
  return Object.entries(module)
    .filter((entry): entry is [string, Type.TSchema] => isSchema(entry[1]))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

export const atomSchemas = named(atoms);

/** Paths and queries are written out as parameters, so they need no name. */
export const httpSchemas: [string, Type.TSchema][] = [
  ...named(http).filter(([name]) => !/(Path|Query)$/.test(name)),
  ...Object.entries(http.historyEntries).map(([type, schema]): [string, Type.TSchema] => [
    ENTRY_NAMES[type as keyof typeof ENTRY_NAMES],
    schema,
  ]),
];

/**
 * Schemas as plain JSON in which every part that equals a named schema refers to it. By equality and not by identity,
 * because an optional field's schema is a copy.
 */
export function describer(names: readonly [string, Type.TSchema][]): Describe {
  const byText = new Map<string, string>();
  for (const [name, schema] of names) {
    const text = JSON.stringify(schema);
    if (!byText.has(text)) byText.set(text, name);
  }
  const refer = (value: Json, self: string | undefined): Json => {
    if (Array.isArray(value)) return value.map((item) => refer(item, undefined));
    if (typeof value !== 'object' || value === null) return value;
    const name = byText.get(JSON.stringify(value));
    if (name !== undefined && name !== self) return { $ref: `#/components/schemas/${name}` };
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, refer(part, undefined)]));
  };
  return (schema, self) => refer(JSON.parse(JSON.stringify(schema)) as Json, self) as JsonObject;
}

/** The named schemas themselves, for `components.schemas`. */
export function schemasOf(names: readonly [string, Type.TSchema][], describe: Describe): JsonObject {
  return Object.fromEntries(names.map(([name, schema]) => [name, describe(schema, name)]));
}
