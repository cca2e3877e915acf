/**
 * Servers that we start must not outlive us, not even when we are killed with SIGKILL. One small shell waits on a pipe
 * whose other end only this process holds; when the pipe closes, it ends what is still registered and removes our
 * temporary folders, with the file systems that were mounted in them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

const SCRIPT = `
without() { left=; for p in $2; do [ "$p" = "$1" ] || left="$left $p"; done; }
now=; gently=
while read -r verb pid; do
  case $verb in
    now) now="$now $pid" ;;
    gently) gently="$gently $pid" ;;
    gone) without "$pid" "$now"; now=$left; without "$pid" "$gently"; gently=$left ;;
  esac
done
for p in $now; do kill -KILL "$p" 2>/dev/null; done
for p in $gently; do kill -TERM "$p" 2>/dev/null; done
tries=0
while [ -n "$gently" ] && [ "$tries" -lt 50 ]; do
  alive=; for p in $gently; do kill -0 "$p" 2>/dev/null && alive="$alive $p"; done
  gently=$alive; [ -n "$gently" ] && sleep 0.2; tries=$((tries + 1))
done
for p in $gently; do kill -KILL "$p" 2>/dev/null; done
while read -r _ at _; do case $at in "$1"/*) umount -l "$at" ;; esac; done 2>/dev/null </proc/mounts
rm -rf -- "$1"
`;

interface Reaper {
  readonly folder: string;
  tell(verb: 'now' | 'gently' | 'gone', pid: number): void;
}

let reaper: Reaper | undefined;

function theReaper(): Reaper {
  if (reaper) return reaper;
  const folder = mkdtempSync(join(tmpdir(), `millrace-${process.pid}-`));
  // Detached: a Ctrl-C in the terminal reaches us, and we stop our servers in order; the shell must see only the pipe.
  const shell: ChildProcess = spawn('sh', ['-c', SCRIPT, 'millrace-reaper', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.unref();
  const pipe = shell.stdin!;
  // Someone killed the shell: cleaning up after our own violent death is lost, nothing else is.
  pipe.on('error', () => undefined);
  (pipe as unknown as { unref?: () => void }).unref?.();
  reaper = { folder, tell: (verb, pid) => void pipe.write(`${verb} ${pid}\n`) };
  return reaper;
}

/** Ends the child when this process ends, however that happens. `gently`: SIGTERM and ten seconds before SIGKILL. */
export function endWithUs(child: ChildProcess, how: 'now' | 'gently'): void {
  const { pid } = child;
  if (pid === undefined) return;
  const { tell } = theReaper();
  tell(how, pid);
  child.once('exit', () => tell('gone', pid));
}

/** A new folder that disappears with this process. */
export function temporaryFolder(prefix: string): string {
  return mkdtempSync(join(theReaper().folder, `${prefix}-`));
}

/** Whether this is the temporary folder of a process that is dead: then its reaper is too, or about to do its work. */
export function isLeft(folder: string): boolean {
  const [, owner] = /^millrace-(\d+)-/.exec(basename(folder)) ?? [];
  if (owner === undefined) return false;
  try {
    process.kill(Number(owner), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
