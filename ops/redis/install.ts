/** Makes sure that this machine has a Redis server to start. */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { findOnPath } from './server.ts';

const ADVICE =
  'no Redis server here: install one (Debian: apt-get install redis-server; macOS: brew install redis), ' +
  'or set REDIS_URL to one that runs elsewhere';
/** Debian's packages start their service unless this file says no (101). It is not ours when it is there already. */
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/**
 * The path of a redis-server or valkey-server; installs Debian's package when there is none and it may (root, apt).
 * Throws an Error with one sentence that says what to do otherwise.
 */
export function ensureRedis(say: (line: string) => void = () => undefined): string {
  const present = findOnPath('redis-server', 'valkey-server');
  if (present !== undefined) return present;
  const apt = findOnPath('apt-get');
  if (apt === undefined || process.getuid?.() !== 0) throw new Error(ADVICE);
  say('Redis is not on this machine: installing the package redis-server …');
  const ours = !existsSync(POLICY_FILE);
  if (ours) writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const install = ['install', '-y', '--no-install-recommends', 'redis-server'];
    if (run(apt, install) !== undefined) run(apt, ['update']);
    const problem = findOnPath('redis-server') === undefined ? run(apt, install) : undefined;
    if (problem !== undefined) throw new Error(`${ADVICE} (apt-get: ${problem})`);
  } finally {
    if (ours) rmSync(POLICY_FILE, { force: true });
  }
  const installed = findOnPath('redis-server');
  if (installed === undefined) throw new Error(ADVICE);
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
