import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { variableList } from '../lib/config/index.ts';
import { roles } from '../lib/process/run.ts';
import packageJson from '../package.json' with { type: 'json' };
import { readmeFile, withTables } from './readme.ts';

const readme = readFileSync(readmeFile, 'utf8');
const docs = new URL('../docs/', import.meta.url);
/** The README, and the pages that it leads to, each with the folder that its links start from. */
const pages: [string, string, URL][] = [
  ['README.md', readme, new URL('../', import.meta.url)],
  ...readdirSync(docs)
    .filter((name) => name.endsWith('.md'))
    .map((name): [string, string, URL] => [name, readFileSync(new URL(name, docs), 'utf8'), docs]),
];

test('the tables of variables and metrics are those of the declarations (node ops/readme.ts)', () => {
  expect(readme).toBe(withTables(readme));
});

test.each(pages)('every npm script and millrace command that %s names exists', (_, text) => {
  for (const [, script] of text.matchAll(/npm run (?:-s )?([a-z:]+)/g)) {
    expect(Object.keys(packageJson.scripts)).toContain(script);
  }
  for (const [, command] of text.matchAll(/npm run (?:-s )?millrace -- ([a-z-]+)/g)) {
    const file = new URL(`../apps/cli/${command}.ts`, import.meta.url);
    expect(existsSync(file), `the command ${command}`).toBe(true);
  }
});

test.each(pages)('every file and folder that %s links to exists', (_, text, folder) => {
  for (const [, path] of text.matchAll(/\]\(([^)#:]+)\)/g)) {
    expect(existsSync(new URL(path!, folder)), path).toBe(true);
  }
});

test('every test file that a page names exists', () => {
  for (const [name, text] of pages) {
    for (const [, path] of text.matchAll(/`((?:apps|lib|lua|ops)\/[^`]+\.test\.ts)`/g)) {
      expect(existsSync(new URL(`../${path}`, import.meta.url)), `${name}: ${path}`).toBe(true);
    }
  }
});

test('docs/deploying.md has every limit, with the default that holds', () => {
  const text = readFileSync(new URL('deploying.md', docs), 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('| '));
  for (const { name, fallback } of variableList.filter(({ name }) => /^(LIMIT|LOG_MAX)_/.test(name))) {
    const row = rows.find((line) => line.includes(`\`${name}\``));
    const byDefault = row?.split(' | ')[1]?.match(/\d+/g);
    expect([name, byDefault]).toEqual([name, expect.arrayContaining([String(fallback)])]);
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
