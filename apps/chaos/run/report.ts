/** The outcome of a run, for people and for scripts. */
import Table from 'cli-table3';
import { PROMISES, type Promised } from '../ledger/findings.ts';
import { FLAT, memoryRows } from './memory.ts';
import type { Outcome } from './run.ts';

const SHOWN_CASES = 5;

export interface Row {
  fault: string;
  strikes: number;
  accepted: number;
  lost: number;
  outOfOrder: number;
  shownTwice: number;
  longestStallMs: number;
}

/** One per kind of fault, in the order in which they came. */
export function rowsOf({ verdict, strikes }: Outcome): Row[] {
  const rows = new Map<string, Row>();
  for (const [i, phase] of verdict.phases.entries()) {
    const row = rows.get(phase.name) ?? {
      ...{ fault: phase.name, accepted: 0, lost: 0, outOfOrder: 0, shownTwice: 0, longestStallMs: 0 },
      strikes: strikes.filter((strike) => strike.phase === phase.name).length,
    };
    const { findings } = verdict;
    row.accepted += phase.accepted;
    row.lost += findings.count('lost', i);
    row.outOfOrder += findings.count('outOfOrder', i);
    row.shownTwice += findings.count('shownTwice', i);
    row.longestStallMs = Math.max(row.longestStallMs, phase.longestStallMs);
    rows.set(phase.name, row);
  }
  return [...rows.values()];
}

export function tableOf(outcome: Outcome): string {
  const table = new Table({
    head: ['fault', 'strikes', 'accepted', 'lost', 'out of order', 'shown twice', 'longest stall'],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  const rows = rowsOf(outcome);
  const sum = (of: (row: Row) => number) => rows.reduce((total, row) => total + of(row), 0);
  const longest = Math.max(0, ...rows.map(({ longestStallMs }) => longestStallMs));
  const all: Row = {
    fault: 'all',
    strikes: outcome.strikes.length,
    accepted: sum(({ accepted }) => accepted),
    lost: sum(({ lost }) => lost),
    outOfOrder: sum(({ outOfOrder }) => outOfOrder),
    shownTwice: sum(({ shownTwice }) => shownTwice),
    longestStallMs: longest,
  };
  for (const row of [...rows, all]) {
    const { fault, strikes, accepted, lost, outOfOrder, shownTwice, longestStallMs } = row;
    table.push([fault, strikes, accepted, lost, outOfOrder, shownTwice, `${(longestStallMs / 1000).toFixed(1)} s`]);
  }
  return table.toString();
}

/** The other promises, one line each, with the first cases of what is wrong. */
export function linesOf({ verdict, settledMs, ledger }: Outcome): string[] {
  const { findings } = verdict;
  const lines = [
    `${verdict.accepted} writes accepted (${verdict.edits} edits, ${verdict.deletes} deletes), ${verdict.changes} changes of members, ` +
      `${verdict.showings} showings, ${verdict.receipts} receipts, ${verdict.gaps} gaps; settled ${(settledMs / 1000).toFixed(1)} s after the last write`,
  ];
  lines.push(
    `${verdict.owedPushes} messages to people who were away and have a push token; ${verdict.pushes} pushes, ${verdict.vainPushes} of them in vain`,
  );
  if (verdict.spared) lines.push(verdict.spared);
  if (verdict.forgotten > 0)
    lines.push(`${verdict.forgotten} writes were accepted and not archived yet when Redis lost everything`);
  for (const promise of Object.keys(PROMISES) as Promised[]) {
    const count = findings.count(promise);
    lines.push(`${count === 0 ? '✓' : '✗'} ${String(count).padStart(5)}  ${PROMISES[promise]}`);
    for (const what of findings.cases(promise).slice(0, SHOWN_CASES)) lines.push(`         ${what}`);
  }
  if (ledger) lines.push(`the ledger: ${ledger}`);
  return lines;
}

/** MiB of each process over the run, and by how much it rose over the last half. */
export function memoryTableOf({ memory = [] }: Outcome): string {
  const rows = memoryRows(memory);
  const times = rows[0]?.mib.map(({ atS }) => `${atS} s`) ?? [];
  const table = new Table({
    head: ['MiB after', ...times, 'highest', 'last half'],
    colAligns: ['left', ...times.map(() => 'right' as const), 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const { name, mib, highestMib, growth, flat } of rows) {
    const share = `${flat ? '✓' : '✗'} ${growth < 0 ? '' : '+'}${(growth * 100).toFixed(1)} %`;
    table.push([name, ...mib.map((sample) => Math.round(sample.mib)), Math.round(highestMib), share]);
  }
  const grows = rows.filter(({ flat }) => !flat).map(({ name }) => name);
  const verdict = grows.length === 0 ? 'all are flat' : `not flat: ${grows.join(', ')}`;
  return `${table.toString()}\nmemory, within ${FLAT * 100} % over the last half: ${verdict}`;
}

export function jsonOf(outcome: Outcome, options: Record<string, unknown>): string {
  const { verdict, strikes, seconds, settledMs } = outcome;
  const { findings, phases: _, ...counts } = verdict;
  const broken = Object.fromEntries(
    findings.broken.map((promise) => [promise, { count: findings.count(promise), cases: findings.cases(promise) }]),
  );
  return JSON.stringify(
    { ...options, seconds, settledMs, ...counts, faults: rowsOf(outcome), broken, strikes, ...memoryOf(outcome) },
    null,
    2,
  );
}

function memoryOf({ memory }: Outcome) {
  if (!memory) return {};
  const judged = memoryRows(memory).map(({ name, highestMib, growth, flat }) => ({ name, highestMib, growth, flat }));
  return { memory: judged.map((row, i) => ({ ...row, samples: memory[i]!.samples })) };
}
