/** The sources of an earlier commit, put beside the present ones: to be measured in the same minutes, or to run with them. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './reaper.ts';

export type Before =
  /** `root` has the sources; `commit` says which. */
  | { root: string; commit: string }
  /** What servers run is what it was: there is nothing to compare. */
  | { same: string }
  /** Why there is nothing to compare with. */
  | { without: string };

/** What a server process runs, its packages aside. */
const SERVED = [
  'apps',
  'lib',
  'lua',
  'ops/node-args.json',
  ':!apps/bench',
  ':!apps/chaos',
  ':!lib/client',
  ':!*.test.ts',
];

/** Before what is not committed yet: the last commit. When all is, the one before it; or the one that is named. */
export function sourcesBefore(repository: string, named?: string): Before {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: repository, maxBuffer: 1 << 28 });
  const top = git('rev-parse', '--show-toplevel');
  if (top.status !== 0 || top.stdout.toString().trim() !== realpathSync(repository)) {
    return { without: 'this folder has no history of its own' };
  }
  const changedSince = (commit: string, ...paths: string[]) =>
    git('diff', '--quiet', commit, '--', ...paths).status !== 0;
  const base = named ?? (changedSince('HEAD') ? 'HEAD' : 'HEAD^');
  const commit = git('rev-parse', '--short', '--verify', '--quiet', `${base}^{commit}`).stdout.toString().trim();
  if (commit === '' && named !== undefined) return { without: `there is no commit ${named} here (a shallow clone?)` };
  if (commit === '') return { without: 'the history ends with the present commit (a shallow clone?)' };
  if (changedSince(commit, 'package-lock.json')) {
    return { without: `package-lock.json is another one than in ${commit}: its packages are not installed` };
  }
  if (!changedSince(commit, ...SERVED)) return { same: commit };
  const root = join(temporaryFolder('before'), commit);
  mkdirSync(root);
  const tree = git('archive', '--format=tar', commit);
  const unpacked = spawnSync('tar', ['-x', '-C', root], { input: tree.stdout });
  if (tree.status !== 0 || unpacked.status !== 0) throw new Error(`${commit} cannot be unpacked: ${unpacked.stderr}`);
  symlinkSync(join(repository, 'node_modules'), join(root, 'node_modules'));
  return { root, commit };
}
