/** Whose port it is: what a second start on a used port tells its user. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { ConfigError } from '../config/index.ts';

/** Turns EADDRINUSE into a message that says who has the port and what to do; passes any other error on. */
export async function listenError(error: unknown, host: string, port: number): Promise<unknown> {
  if ((error as NodeJS.ErrnoException | undefined)?.code !== 'EADDRINUSE') return error;
  return new ConfigError(await describePortOwner(host, port));
}

export async function describePortOwner(host: string, port: number): Promise<string> {
  const elsewhere = `start this one on another port: npm start -- --port ${port + 1} (or PORT=${port + 1})`;
  const health = await askHealth(host, port);
  if (health?.service === 'millrace') {
    const folder = typeof health.folder === 'string' ? ` in ${health.folder}` : '';
    return `port ${port} is in use by another Millrace (process ${health.pid}${folder}): use that one at http://${host}:${port}, stop it with kill ${health.pid}, or ${elsewhere}`;
  }
  const owner = listenerOf(port);
  if (owner) return `port ${port} is in use by ${owner.command} (process ${owner.pid}): stop that, or ${elsewhere}`;
  return `port ${port} is in use by another program: stop that, or ${elsewhere}`;
}

async function askHealth(host: string, port: number): Promise<Record<string, unknown> | undefined> {
  const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  try {
    const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}/healthz`;
    const response = await fetch(url, { signal: AbortSignal.timeout(1500) });
    return (await response.json()) as Record<string, unknown>;
  } catch {
    // Not HTTP, not JSON or no answer: then it is not one of ours, which is the question.
    return undefined;
  }
}

/** The process that listens on the port, as Linux tells it; undefined elsewhere, or when it is another user's. */
export function listenerOf(port: number): { pid: number; command: string } | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const inodes = new Set<string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readIfThere(file).split('\n')) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (local?.endsWith(`:${hex}`) && state === '0A' && inode) inodes.add(`socket:[${inode}]`);
    }
  }
  if (inodes.size === 0) return undefined;
  for (const pid of list('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const descriptor of list(`/proc/${pid}/fd`)) {
      if (!inodes.has(link(`/proc/${pid}/fd/${descriptor}`))) continue;
      return { pid: Number(pid), command: readIfThere(`/proc/${pid}/comm`).trim() };
    }
  }
  return undefined;
}

// Processes come and go while /proc is read, and other users' cannot be looked into: what is not readable is not there.
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
