/**
 * Type check, lint and all tests. Ends with the line `N passed, N failed`, in which type check and lint count as one
 * each, and exits non-zero when anything failed. Arguments go to vitest: `npm test -- lib/config`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureChromium } from './chromium.ts';
import { ensureRedis } from './redis/install.ts';

interface Report {
  numPassedTests: number;
  numPendingTests: number;
  testResults: { name: string; status: string; assertionResults: { status: string }[] }[];
}

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

const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
const file = join(folder, 'report.json');
try {
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...process.argv.slice(2)];
  const ok = await step('tests', 'vitest', args);
  const failedBefore = failed;
  const report = readReport(file);
  if (report) {
    passed += report.numPassedTests;
    for (const { status, assertionResults } of report.testResults) {
      const inFile = assertionResults.filter((test) => test.status === 'failed').length;
      // A file that could not even be loaded has no failed test of its own.
      failed += inFile === 0 && status === 'failed' ? 1 : inFile;
    }
    if (report.numPendingTests > 0) console.log(`${report.numPendingTests} skipped`);
  }
  // No report, no test, or an error outside any test: vitest says so only by its exit code.
  if (!ok && failed === failedBefore) failed++;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch (error) {
    console.error(`no report from vitest: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
