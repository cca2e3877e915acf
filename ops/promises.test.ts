import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const page = readFileSync(new URL('../docs/promises.md', import.meta.url), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| promise |'))
  .map((line) => line.slice(2, -2).split(' | '));

function sourceOf(file: string): string {
  const path = /^(lib|lua|ops)\//.test(file) ? file : `apps/${file}`;
  const url = new URL(`../${path}`, import.meta.url);
  return existsSync(url) ? readFileSync(url, 'utf8') : '';
}

test('every promise of the table names tests that exist', () => {
  expect(rows.length).toBeGreaterThan(100);
  const missing: string[] = [];
  for (const [promise = '', tests = ''] of rows) {
    for (const named of tests.split('<br>')) {
      const [file = '', title = ''] = named.split(' › ');
      const source = sourceOf(file);
      const there = [`'${title}'`, `"${title}"`, `\`${title}\``].some((quoted) => source.includes(quoted));
      if (!there) missing.push(`${promise}: ${named}`);
    }
  }
  expect(missing).toEqual([]);
});
