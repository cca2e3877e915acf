/**
 * Type check, lint and all tests. Ends with the line `N passed, N failed`, in which type check and lint count as one
 * each, and exits non-zero when anything failed. Arguments go to vitest: `npm test -- lib/config`.
 *
 * With CI set, a few files that failed are run once more, alone, since two busy cores miss a bound on time that a
 * quiet machine keeps. What passes then is counted as passed and named as unsteady; its first failure stays in the
 * output. What the ledger found is never asked twice: a message that was lost once is lost.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { ensureChromium } from './chromium.ts';
import { ensureRedis } from './redis/install.ts';

interface Report {
  numPassedTests: number;
  numPendingTests: number;
  testResults: FileResult[];
}

interface FileResult {
  name: string;
  status: string;
  assertionResults: { status: string; fullName: string }[];
}

/** More than these failed for another reason than a busy machine. */
const AGAIN_AT_MOST = 3;
const NEVER_TWICE = /apps\/chaos\/(run\/|mutants)/;

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules', '.bin');
const env = { ...process.env, PATH: `${bin}:${process.env.PATH ?? ''}` };
let passed = 0;
let failed = 0;
let running: ChildProcess | undefined;

async function step(title: string, command: string, args: string[]): Promise<boolean> {
  console.log(`\n── ${title}`);
  running = spawn(join(bin, command), args, { cwd: root, env, stdio: 'inherit' });
  const [code] = (await once(running, 'exit')) as [number | null];
  running = undefined;
  return code === 0;
}

function count(ok: boolean): void {
  if (ok) passed++;
  else failed++;
}

// Whoever ends this run, or kills the process above it, ends what it started too.
for (const reason of ['SIGINT', 'SIGTERM', 'disconnect']) {
  process.once(reason, () => {
    running?.kill('SIGTERM');
    process.exit(1);
  });
}
// Listening for its end would keep us waiting for it.
process.channel?.unref();

ensureRedis(console.log);
try {
  ensureChromium(console.log);
} catch (error) {
  // Only the browser test needs it, and says the same when it fails.
  console.error(error instanceof Error ? error.message : String(error));
}
count(await step('type check', 'tsc', ['--noEmit']));
count(await step('lint and format', 'biome', ['check', '--error-on-warnings', '.']));

const unsteady: string[] = [];
const { ok, report } = await vitest('tests', process.argv.slice(2));
const failedBefore = failed;
if (report) {
  passed += report.numPassedTests;
  const files = report.testResults.filter((file) => failuresIn(file) > 0);
  const again = process.env.CI !== undefined && files.length <= AGAIN_AT_MOST;
  for (const file of files) {
    const name = relative(root, file.name);
    if (again && !NEVER_TWICE.test(name) && (await vitest(`${name}, once more, alone`, [name])).ok) {
      const tests = file.assertionResults.filter(({ status }) => status === 'failed');
      passed += failuresIn(file);
      unsteady.push(name, ...tests.map(({ fullName }) => `  ${fullName}`));
    } else {
      failed += failuresIn(file);
    }
  }
  if (report.numPendingTests > 0) console.log(`${report.numPendingTests} skipped`);
}
// No report, no test, or an error outside any test: vitest says so only by its exit code.
if (!ok && failed === failedBefore && unsteady.length === 0) failed++;
if (unsteady.length > 0) console.log(`\nunsteady, failed beside others and passed alone:\n${unsteady.join('\n')}`);

console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

/** A file that could not even be loaded has no failed test of its own. */
function failuresIn({ status, assertionResults }: FileResult): number {
  const failures = assertionResults.filter((test) => test.status === 'failed').length;
  return failures === 0 && status === 'failed' ? 1 : failures;
}

async function vitest(title: string, args: string[]): Promise<{ ok: boolean; report: Report | undefined }> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  const file = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const ok = await step(title, 'vitest', ['run', ...reporters, ...args]);
    return { ok, report: readReport(file) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch (error) {
    console.error(`no report from vitest: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
