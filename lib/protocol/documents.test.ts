import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';
import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, test } from 'vitest';
import { asyncapi } from './asyncapi.ts';
import { calls } from './calls.ts';
import { clientFrames, serverFrames } from './frames.ts';
import { openapi } from './openapi.ts';
import { documents, textOf } from './write-documents.ts';

test.each(documents)('$name is what write-documents.ts writes', ({ file, make }) => {
  expect(readFileSync(file, 'utf8'), 'run: node lib/protocol/write-documents.ts').toBe(textOf(make()));
});

test('the OpenAPI document is valid 3.1 and holds every call', async () => {
  const validator = new Validator();
  const result = await validator.validate(structuredClone(openapi()));
  expect(result.errors ?? []).toEqual([]);
  expect(result.valid).toBe(true);
  expect(validator.version).toBe('3.1');
  const paths = openapi().paths as Record<string, Record<string, { operationId: string }>>;
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
  expect(operations).toHaveLength(calls.length);
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(calls.length);
});

test('the AsyncAPI document is valid 3.0 and holds every frame', async () => {
  const { document, diagnostics } = await new Parser().parse(JSON.stringify(asyncapi()));
  expect(diagnostics.filter(({ severity }) => severity <= 1)).toEqual([]);
  expect(document?.version()).toBe('3.0.0');
  const names = document
    ?.components()
    .messages()
    .all()
    .map((message) => message.name());
  expect(names).toEqual([...Object.keys(clientFrames), ...Object.keys(serverFrames)]);
});

test('every reference leads somewhere', () => {
  for (const document of [openapi(), asyncapi()]) {
    for (const [, pointer] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      let target: unknown = document;
      for (const step of pointer!.split('/')) target = (target as Record<string, unknown>)[step];
      expect(target, pointer).toBeDefined();
    }
  }
});
