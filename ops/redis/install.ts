/** Makes sure that this machine has a Redis server to start. */
import { ensurePackage } from '../packages.ts';
import { findOnPath } from './server.ts';

/**
 * The path of a redis-server or valkey-server; installs Debian's package when there is none and it may (root, apt).
 * Throws an Error with one sentence that says what to do otherwise.
 */
export function ensureRedis(say: (line: string) => void = () => undefined): string {
  return ensurePackage(
    {
      name: 'redis-server',
      find: () => findOnPath('redis-server', 'valkey-server'),
      advice:
        'no Redis server here: install one (Debian: apt-get install redis-server; macOS: brew install redis), ' +
        'or set REDIS_URL to one that runs elsewhere',
    },
    say,
  );
}
