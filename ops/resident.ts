/** Resident memory of a process in bytes, as Linux tells it. */
import { readFileSync } from 'node:fs';

export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}
