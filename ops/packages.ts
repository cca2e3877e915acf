/** Installs what the project needs of Debian's packages, when this machine has apt and we are root. */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { findOnPath } from './redis/server.ts';

/** Debian's packages start their service unless this file says no (101). It is not ours when it is there already. */
const POLICY_FILE = '/usr/sbin/policy-rc.d';

export interface Package {
  /** Debian's name. */
  name: string;
  /** Where the program is, if it is here. */
  find: () => string | undefined;
  /** One sentence for whoever has to install it by hand. */
  advice: string;
}

/** The path of the program; throws an Error with the advice when it is not here and cannot be installed. */
export function ensurePackage({ name, find, advice }: Package, say: (line: string) => void): string {
  const present = find();
  if (present !== undefined) return present;
  const apt = findOnPath('apt-get');
  if (apt === undefined || process.getuid?.() !== 0) throw new Error(advice);
  say(`installing the package ${name}, which this machine does not have …`);
  const ours = !existsSync(POLICY_FILE);
  if (ours) writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const install = ['install', '-y', '--no-install-recommends', name];
    if (run(apt, install) !== undefined) run(apt, ['update']);
    const problem = find() === undefined ? run(apt, install) : undefined;
    if (problem !== undefined) throw new Error(`${advice} (apt-get: ${problem})`);
  } finally {
    if (ours) rmSync(POLICY_FILE, { force: true });
  }
  const installed = find();
  if (installed === undefined) throw new Error(advice);
  return installed;
}

/** undefined when it went well, else the last line that it said. */
function run(command: string, args: string[]): string | undefined {
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status === 0) return undefined;
  return error?.message ?? (stderr.trim().split('\n').at(-1) || `exit code ${status}`);
}
