import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { roles } from '../lib/process/run.ts';
import packageJson from '../package.json' with { type: 'json' };
import { readmeFile, withTables } from './readme.ts';

const readme = readFileSync(readmeFile, 'utf8');

test('the tables of variables and metrics are those of the declarations (node ops/readme.ts)', () => {
  expect(readme).toBe(withTables(readme));
});

test('every npm script that the README names exists', () => {
  for (const [, script] of readme.matchAll(/npm run (?:-s )?([a-z:]+)/g)) {
    expect(Object.keys(packageJson.scripts)).toContain(script);
  }
});

test('every millrace command that the README names exists', () => {
  for (const [, command] of readme.matchAll(/npm run (?:-s )?millrace -- ([a-z-]+)/g)) {
    const file = new URL(`../apps/cli/${command}.ts`, import.meta.url);
    expect(existsSync(file), `the command ${command}`).toBe(true);
  }
});

test('every file and folder that the README links to exists', () => {
  for (const [, path] of readme.matchAll(/\]\(([^)#:]+)\)/g)) {
    expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true);
  }
});

test('docker-compose brings the schema up to date, and runs every role', () => {
  const compose = readFileSync(new URL('../docker-compose.yml', import.meta.url), 'utf8');
  const commands = [...compose.matchAll(/command: \[(.+)\] # millrace$/gm)].map(
    ([, list]) => JSON.parse(`[${list}]`) as string[],
  );
  expect(commands.filter(([command]) => command !== 'start')).toEqual([['schema']]);
  const started = commands
    .filter(([command]) => command === 'start')
    .map((words) => words[words.indexOf('--roles') + 1]);
  expect(started.sort()).toEqual([...roles].sort());
});
