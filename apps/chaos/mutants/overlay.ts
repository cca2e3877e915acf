/** A copy of the product's sources with a fault planted in it, from which a deployment is started as it is from ours. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../../ops/reaper.ts';
import type { Edit } from './mutant.ts';

const HERE = fileURLToPath(new URL('../../../', import.meta.url));
const SOURCES = ['apps', 'lib', 'lua', 'ops', 'package.json'];

export interface Overlay {
  root: string;
  nodeArgs: readonly string[];
}

export function overlay(edits: readonly Edit[]): Overlay {
  const root = temporaryFolder('mutant');
  for (const name of SOURCES) {
    cpSync(join(HERE, name), join(root, name), { recursive: true, filter: (path) => !path.endsWith('.test.ts') });
  }
  for (const edit of edits) plant(root, edit);
  return { root, nodeArgs: ['--import', new URL('packages.ts', import.meta.url).href] };
}

function plant(root: string, { file, was, becomes }: Edit): void {
  const path = join(root, file);
  const text = readFileSync(path, 'utf8');
  const times = text.split(was).length - 1;
  if (times !== 1) throw new Error(`${file} has ${times} times, and not once, what a mutant changes: ${was}`);
  writeFileSync(
    path,
    text.replace(was, () => becomes),
  );
}
