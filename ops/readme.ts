/** Writes the README's tables of variables and metrics anew from their declarations: `node ops/readme.ts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { variableList } from '../lib/config/index.ts';
import { type Declaration, declarations, prefix } from '../lib/telemetry/metrics.ts';

export const readmeFile = new URL('../README.md', import.meta.url);

const cell = (text: string): string => text.replaceAll('|', '\\|');
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

const sections: Record<string, () => string> = {
  variables: () =>
    table(
      ['variable', 'default', 'unit', 'what it does'],
      variableList.map(({ name, fallback, unit, means }) => [
        `\`${name}\``,
        fallback === undefined ? 'none' : `\`${fallback}\``,
        unit,
        means,
      ]),
    ),
  metrics: () =>
    table(
      ['metric', 'kind', 'unit', 'labels', 'what it tells'],
      Object.values<Declaration>(declarations).map(({ name, kind, unit, labels = [], help }) => [
        `\`${prefix}${name}\``,
        kind,
        unit,
        labels.join(', '),
        help,
      ]),
    ),
};

/** The README with what stands between its markers replaced. Throws when a marker is missing. */
export function withTables(readme: string): string {
  let text = readme;
  for (const [name, make] of Object.entries(sections)) {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`README.md has no ${begin} … ${end}`);
    text = `${text.slice(0, from + begin.length)}\n${make()}\n${text.slice(to)}`;
  }
  return text;
}

if (import.meta.main) writeFileSync(readmeFile, withTables(readFileSync(readmeFile, 'utf8')));
