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

export function tableOf(lines: readonly SummaryLine[], systems: readonly string[]): string {
  const table = new Table({ head: ['row', 'figure', ...systems], style: { head: [], border: [] } });
  let before = '';
  for (const { row, what, unit, figures } of lines) {
    table.push([row === before ? '' : row, what, ...systems.map((system) => cell(figures[system], unit))]);
    before = row;
  }
  return table.toString();
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
