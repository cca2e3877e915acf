/** Self time by function out of V8's CPU profiles, cut to the window that was measured. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
  /** Microseconds, monotonic. */
  startTime: number;
}

export interface SelfTime {
  name: string;
  micros: number;
}

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The profile that the process left in the folder. */
export function profileOf(folder: string, pid: number): CpuProfile | undefined {
  const file = readdirSync(folder).find((name) => name.endsWith('.cpuprofile') && name.split('.')[3] === String(pid));
  return file ? (JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile) : undefined;
}

/** Most expensive first, without idling; the window in the same clock's microseconds. */
export function selfTimes(profile: CpuProfile, window: { from: number; to: number }): SelfTime[] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const place = url.replace(`file://${root}`, '').replace(/^node_modules\//, '');
      return [id, `${functionName || '(anonymous)'} ${place}${place ? `:${lineNumber + 1}` : ''}`.trim()];
    }),
  );
  const micros = new Map<string, number>();
  let at = profile.startTime;
  profile.samples.forEach((id, i) => {
    const delta = profile.timeDeltas[i] ?? 0;
    at += delta;
    if (at < window.from || at > window.to) return;
    const name = names.get(id) ?? '?';
    micros.set(name, (micros.get(name) ?? 0) + delta);
  });
  return [...micros]
    .filter(([name]) => name !== '(idle)')
    .map(([name, time]) => ({ name, micros: time }))
    .sort((a, b) => b.micros - a.micros);
}
