import { Cluster, type Redis } from 'ioredis';
import type { Archive } from '../archive/archive.ts';
import type { RedisStore } from '../redis/connect.ts';
import type { Readiness } from '../telemetry/probes.ts';

/** Below the second and a half of a usual probe, and above what a busy Redis takes. */
const partTimeoutMs = 1500;

/** Redis decides, by the majority of its primaries; the archive is told, and its absence alone makes nobody unready. */
export async function readinessOf(store: RedisStore, archive: Archive): Promise<Readiness> {
  const primaries: Redis[] = store.command instanceof Cluster ? store.command.nodes('master') : [store.command];
  const [redis, history] = await Promise.all([
    Promise.all(primaries.map((node) => answers(node.ping()))),
    answers(archive.ready()),
  ]);
  const up = redis.filter(Boolean).length;
  const state = up === redis.length && up > 0 ? 'ok' : up === 0 ? 'unreachable' : `${up} of ${redis.length} primaries`;
  return { ready: up * 2 > redis.length, parts: { redis: state, archive: history ? 'ok' : 'unreachable' } };
}

async function answers(work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), partTimeoutMs);
  });
  const done = work.then(
    () => true,
    () => false,
  );
  return Promise.race([done, late]).finally(() => clearTimeout(timer));
}
