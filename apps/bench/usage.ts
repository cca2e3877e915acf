/** What processes cost, read from /proc: CPU time in microseconds, resident memory in bytes, how busy the machine is. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { residentBytes } from '../../ops/resident.ts';

/** USER_HZ: 100 on every Linux that Node runs on. */
const MICROS_PER_TICK = 10_000;

export function cpuMicros(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the command in brackets, which may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MICROS_PER_TICK;
}

/** CPU time that the whole machine spent working, and that its host took away (`steal`). */
export function machineMicros(): { busy: number; steal: number } {
  const [, user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
    .slice(0, 300)
    .split('\n', 1)[0]!
    .split(/\s+/)
    .map(Number) as number[];
  const busy = (user! + nice! + system! + irq! + softirq!) * MICROS_PER_TICK;
  return { busy, steal: steal! * MICROS_PER_TICK };
}

export interface Snapshot {
  at: number;
  cpu: Record<string, number>;
  rss: Record<string, number>;
  machine: { busy: number; steal: number };
}

export function snapshot(pids: Readonly<Record<string, number>>): Snapshot {
  const cpu: Record<string, number> = {};
  const rss: Record<string, number> = {};
  for (const [name, pid] of Object.entries(pids)) {
    try {
      cpu[name] = cpuMicros(pid);
      rss[name] = residentBytes(pid);
    } catch {
      cpu[name] = 0; // killed by the scenario: it has no cost that could still be read
      rss[name] = 0;
    }
  }
  return { at: performance.now(), cpu, rss, machine: machineMicros() };
}

export interface Cost {
  seconds: number;
  /** Microseconds of CPU by process. */
  cpu: Record<string, number>;
  rss: Record<string, number>;
  /** Share of all cores that others used, 0 to 1; and that the machine's host took away. */
  others: number;
  stolen: number;
}

export function costBetween(before: Snapshot, after: Snapshot): Cost {
  const cpu: Record<string, number> = {};
  let ours = 0;
  for (const [name, micros] of Object.entries(after.cpu)) {
    cpu[name] = Math.max(0, micros - (before.cpu[name] ?? 0));
    ours += cpu[name];
  }
  const seconds = (after.at - before.at) / 1000;
  const capacity = seconds * 1e6 * availableParallelism();
  return {
    seconds,
    cpu,
    rss: after.rss,
    others: Math.max(0, after.machine.busy - before.machine.busy - ours) / capacity,
    stolen: (after.machine.steal - before.machine.steal) / capacity,
  };
}

/** Waits until the machine has nothing else to do: less than a tenth of it busy for two seconds. False: it never was. */
export async function quiet(patienceS: number): Promise<boolean> {
  const deadline = performance.now() + patienceS * 1000;
  for (let calm = 0; calm < 2; ) {
    if (performance.now() > deadline) return false;
    const before = machineMicros();
    await sleep(1000);
    const after = machineMicros();
    const used = (after.busy + after.steal - before.busy - before.steal) / 1e6 / availableParallelism();
    calm = used < 0.1 ? calm + 1 : 0;
  }
  return true;
}
