import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { sourcesBefore } from './before.ts';
import { temporaryFolder } from './reaper.ts';

let folder: string;
beforeEach(() => {
  folder = temporaryFolder('history');
});

const git = (...args: string[]) =>
  execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], { cwd: folder })
    .toString()
    .trim();

function write(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

/** Answers the commit's short name. */
function commit(files: Record<string, string>): string {
  if (!existsSync(join(folder, '.git'))) git('init', '-q');
  write(files);
  git('add', '-A');
  git('commit', '-q', '-m', 'a change');
  return git('rev-parse', '--short', 'HEAD');
}

const sourceOf = (before: ReturnType<typeof sourcesBefore>) =>
  'root' in before ? readFileSync(join(before.root, 'lib/a.ts'), 'utf8') : JSON.stringify(before);

test('a commit is compared with the one before it, what is not committed yet with the last one', () => {
  const first = commit({ 'package-lock.json': '{}', 'lib/a.ts': 'first' });
  commit({ 'lib/a.ts': 'second' });
  const before = sourcesBefore(folder);
  expect(before).toMatchObject({ commit: first });
  expect(sourceOf(before)).toBe('first');
  write({ 'lib/a.ts': 'third' });
  expect(sourceOf(sourcesBefore(folder))).toBe('second');
});

test('without a change of what servers run there is nothing to measure', () => {
  const first = commit({ 'lib/a.ts': 'first' });
  commit({ 'docs/a.md': 'words', 'lib/a.test.ts': 'a test', 'apps/bench/a.ts': 'a benchmark' });
  expect(sourcesBefore(folder)).toEqual({ same: first });
});

test('without a history, and with other packages, it is said why nothing can be compared', () => {
  write({ 'lib/a.ts': 'first' });
  expect(sourcesBefore(folder)).toEqual({ without: expect.stringContaining('no history') });
  commit({ 'package-lock.json': '{}' });
  expect(sourcesBefore(folder)).toEqual({ without: expect.stringContaining('the history ends') });
  commit({ 'package-lock.json': '{ }', 'lib/a.ts': 'second' });
  expect(sourcesBefore(folder)).toEqual({ without: expect.stringContaining('package-lock.json') });
  git('clone', '-q', '--depth', '1', `file://${folder}`, join(folder, 'shallow'));
  expect(sourcesBefore(join(folder, 'shallow'))).toEqual({ without: expect.stringContaining('the history ends') });
});

test('the commit that is named is put there, and when it is not there that is said', () => {
  const first = commit({ 'package-lock.json': '{}', 'lib/a.ts': 'first' });
  commit({ 'lib/a.ts': 'second' });
  commit({ 'lib/a.ts': 'third' });
  const before = sourcesBefore(folder, first);
  expect(before).toMatchObject({ commit: first });
  expect(sourceOf(before)).toBe('first');
  expect(sourcesBefore(folder, '0123456')).toEqual({ without: expect.stringContaining('no commit 0123456') });
});
