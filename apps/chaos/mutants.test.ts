/** The verdict of `npm run chaos` is itself tested: faults planted in the product are found, and nothing else is. */
import { readFileSync } from 'node:fs';
import pLimit from 'p-limit';
import { expect, it } from 'vitest';
import { PROMISES } from './ledger/findings.ts';
import { SMALL_INBOX } from './mutants/attending.ts';
import { MUTANTS } from './mutants/mutants.ts';
import { tryMutant, tryProduct } from './mutants/try.ts';
import { linesOf } from './run/report.ts';

const chosen = process.env.CHAOS === 'full' ? MUTANTS : MUTANTS.filter(({ always }) => always);
/** Worlds side by side: as many as two cores carry. The others wait within their time. */
const limit = pLimit(2);
const concurrent = { concurrent: true, timeout: 120_000 * (1 + chosen.length) };

it('keeps every promise as it is, also when inboxes overflow and answers are lost', concurrent, async () => {
  const log: string[] = [];
  const outcome = await limit(() => tryProduct(SMALL_INBOX, 'net-lost-answers', (line) => void log.push(line)));
  const { findings, accepted, gaps } = outcome.verdict;
  expect(findings.broken, [...log, ...linesOf(outcome)].join('\n')).toEqual([]);
  expect(accepted).toBeGreaterThan(0);
  expect(gaps).toBeGreaterThan(0);
});

it.each(chosen)('finds it when $does', concurrent, async (mutant) => {
  const log: string[] = [];
  const outcome = await limit(() => tryMutant(mutant, (line) => void log.push(line)));
  expect(outcome.verdict.findings.broken, [...log, ...linesOf(outcome)].join('\n')).toContain(mutant.breaks);
});

it('what a mutant changes is in the product once, as it is now', () => {
  const textOf = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  for (const { name, edits } of MUTANTS) {
    for (const { file, was } of edits) expect(textOf(file).split(was), `${name}, ${file}: ${was}`).toHaveLength(2);
  }
});

it('every promise is broken by a mutant, and docs/proof.md tells of each of them', () => {
  const broken = new Set<string>(MUTANTS.map(({ breaks }) => breaks));
  expect(Object.keys(PROMISES).filter((promise) => !broken.has(promise))).toEqual([]);
  const text = readFileSync(new URL('../../docs/proof.md', import.meta.url), 'utf8');
  expect(MUTANTS.filter(({ name }) => !text.includes(`| \`${name}\` |`))).toEqual([]);
});
