/** Samples to medians, and these to a table. */
import Table from 'cli-table3';
import type { Figure } from './rows.ts';

export interface Sample extends Figure {
  row: string;
  system: string;
}

export interface Spread {
  median: number;
  least: number;
  most: number;
}

export interface SummaryLine {
  row: string;
  what: string;
  unit: string;
  /** By system. */
  figures: Record<string, Spread>;
}

/** One line per figure, in the order in which they first came. */
export function summarize(samples: readonly Sample[]): SummaryLine[] {
  const lines = new Map<string, { line: SummaryLine; values: Map<string, number[]> }>();
  for (const { row, system, what, unit, value } of samples) {
    const key = `${row} ${what}`;
    let found = lines.get(key);
    if (!found) {
      found = { line: { row, what, unit, figures: {} }, values: new Map() };
      lines.set(key, found);
    }
    const values = found.values.get(system) ?? [];
    values.push(value);
    found.values.set(system, values);
  }
  return [...lines.values()].map(({ line, values }) => {
    for (const [system, list] of values) line.figures[system] = spreadOf(list);
    return line;
  });
}

/** Not a number, for what never came about, counts as later than everything. */
function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => order(a) - order(b));
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  const median = (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2;
  return { median, least: at(0), most: at(sorted.length - 1) };
}

function order(value: number): number {
  return Number.isNaN(value) ? Number.MAX_VALUE : value;
}

/** `beside` says by row what its figures do not show. */
export function tableOf(
  lines: readonly SummaryLine[],
  systems: readonly string[],
  beside: Readonly<Record<string, string>> = {},
): string {
  const head = ['row', 'figure', ...systems, 'what Socket.IO does not promise'];
  const colWidths = [11, 40, ...systems.map(() => null), 62];
  const table = new Table({ head, colWidths, wordWrap: true, style: { head: [], border: [] } });
  for (const [row, own] of byRow(lines)) {
    own.forEach(({ what, unit, figures }, i) => {
      const cells = [what, ...systems.map((system) => cell(figures[system], unit))];
      const span = { rowSpan: own.length };
      if (i === 0) table.push([{ content: row, ...span }, ...cells, { content: beside[row] ?? '', ...span }]);
      else table.push(cells);
    });
  }
  return table.toString();
}

/** As the README has it. */
export function markdownOf(
  lines: readonly SummaryLine[],
  systems: readonly string[],
  beside: Readonly<Record<string, string>>,
): string {
  const out = [
    `| | | ${systems.join(' | ')} | what Socket.IO does not promise |`,
    `|${'---|'.repeat(systems.length + 3)}`,
  ];
  for (const [row, own] of byRow(lines)) {
    own.forEach(({ what, unit, figures }, i) => {
      const cells = [i === 0 ? row : '', what, ...systems.map((system) => cell(figures[system], unit))];
      out.push(`| ${[...cells, i === 0 ? (beside[row] ?? '') : ''].join(' | ')} |`);
    });
  }
  return out.join('\n');
}

function byRow(lines: readonly SummaryLine[]): Map<string, SummaryLine[]> {
  const rows = new Map<string, SummaryLine[]>();
  for (const line of lines) rows.set(line.row, [...(rows.get(line.row) ?? []), line]);
  return rows;
}

function cell(spread: Spread | undefined, unit: string): string {
  if (!spread) return '';
  const { median, least, most } = spread;
  const range = least === most || Number.isNaN(least) ? '' : ` (${shown(least)} to ${shown(most)})`;
  return `${shown(median)}${Number.isNaN(median) ? '' : ` ${unit}`.trimEnd()}${range}`;
}

function shown(value: number): string {
  if (Number.isNaN(value)) return 'never';
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value.toFixed(1);
}
