/**
 * What runs before anything of ours can: plain JavaScript for whatever Node (20 or newer) the host has. It brings
 * node_modules up to date, Node 24 among them, and hands over to it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node24 = join(root, 'node_modules', '.bin', 'node');
/**
 * A young generation that may grow to 8 MB and no further: thousands who connect at once leave it large, and it stays so. An
 * idle connection then takes 13 instead of 16 KiB (`npm run bench -- --scenario idle`), for some 4 % more CPU under load.
 */
const nodeArgs = JSON.parse(readFileSync(join(root, 'ops', 'node-args.json'), 'utf8'));

/** `npm ci` when something is missing or package-lock.json is newer than what is installed. */
function install() {
  // npm writes this file last, so it also tells a finished installation from one that was interrupted.
  const installed = join(root, 'node_modules', '.package-lock.json');
  const current =
    existsSync(node24) &&
    existsSync(installed) &&
    statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs;
  if (current) return;
  process.stderr.write('Installing what Millrace needs (npm ci), once …\n');
  const { npm_execpath: npm, npm_node_execpath: node } = process.env;
  const [command, args] = npm && node ? [node, [npm]] : ['npm', []];
  // Its report goes to standard error: standard output belongs to the command that is about to run.
  // Its warnings are about the host's Node, which runs nothing of this.
  const ci = ['ci', '--loglevel=error', '--no-audit', '--no-fund'];
  const { status, error } = spawnSync(command, [...args, ...ci], { cwd: root, stdio: ['ignore', 2, 2] });
  if (error || status !== 0) {
    process.stderr.write(`npm ci failed${error ? ` (${error.message})` : ''}: see above, then try again.\n`);
    process.exit(1);
  }
}

/**
 * Runs a TypeScript file on Node 24 as this process: same terminal, same signals, same exit code. The child also ends
 * when this process is killed outright: it watches the channel between the two.
 */
export function run(file, args) {
  install();
  // What was compiled once is not compiled again by the next process: half of the time until a command runs.
  process.env.NODE_COMPILE_CACHE ??= join(root, '.millrace', 'compiled');
  const child = spawn(node24, [...nodeArgs, join(root, file), ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  // The terminal sends Ctrl-C to both of us; a signal sent to this process alone has to be passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // npm killed outright tells nobody; what it started should not live on unseen.
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event) {
    setInterval(() => process.ppid !== parent && child.kill('SIGTERM'), 1000).unref();
  }
  child.once('error', (error) => {
    process.stderr.write(`cannot run ${node24}: ${error.message}\n`);
    process.exit(1);
  });
  child.once('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}
