import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const TEST_ONLY = /\.test\.ts$|^harness\.ts$|^scripted-/;
const PROTOCOL = join(import.meta.dirname, '..', 'protocol');

/** What is imported to run; types are gone by then. */
function runtimeImports(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)'/gm)].map(
    ([, from]) => from!,
  );
}

it('runs in a browser: nothing but its own files, and of the protocol what is pure', () => {
  const files = readdirSync(import.meta.dirname).filter((name) => !TEST_ONLY.test(name));
  const beyond = files
    .flatMap((name) => runtimeImports(join(import.meta.dirname, name)))
    .filter((from) => !from.startsWith('./'));
  expect([...new Set(beyond)].sort()).toEqual(['../protocol/errors.ts', '../protocol/ids.ts']);
  const below = ['errors.ts', 'ids.ts', 'limits.ts'].flatMap((name) => runtimeImports(join(PROTOCOL, name)));
  expect(below.filter((from) => from !== './limits.ts')).toEqual([]);
});
