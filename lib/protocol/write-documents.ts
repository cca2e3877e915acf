/** Writes docs/openapi.json and docs/asyncapi.json anew: `node lib/protocol/write-documents.ts`. */
import { writeFileSync } from 'node:fs';
import { asyncapi } from './asyncapi.ts';
import { openapi } from './openapi.ts';

export const documents = [
  { name: 'openapi.json', file: new URL('../../docs/openapi.json', import.meta.url), make: openapi },
  { name: 'asyncapi.json', file: new URL('../../docs/asyncapi.json', import.meta.url), make: asyncapi },
];

export function textOf(document: object): string {
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

if (import.meta.main) {
  for (const { file, make } of documents) writeFileSync(file, textOf(make()));
}
