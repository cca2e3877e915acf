/** Presence as a process: leases partitions, makes users offline who left, ends the sessions of gateways that died. */
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { PartitionLeases } from '../../lib/partitions/leases.ts';
import { repeat } from '../../lib/process/repeat.ts';
import { startAlone } from '../../lib/process/run.ts';
import { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import type { ScriptObserver } from '../../lib/redis/scripts.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { Leaving } from './leaving.ts';
import { Reaper } from './reaper.ts';

const ROLE = 'presence';

export interface PresenceTimes {
  /** Between the end of a user's last session and their being offline: who reconnects was never gone. */
  graceMs: number;
  settleEveryMs: number;
  rollCallEveryMs: number;
  /** How long a gateway's lease must have been missing. */
  missingMs: number;
  /** How long nobody is reaped when many gateways look dead at once. */
  massMs: number;
}
const TIMES: PresenceTimes = {
  graceMs: 5000,
  settleEveryMs: 1000,
  rollCallEveryMs: 2500,
  missingMs: 15_000,
  massMs: 60_000,
};

export async function startPresence(ctx: AppContext, patience: Partial<PresenceTimes> = {}): Promise<RunningApp> {
  const { store, metrics, config } = ctx;
  const times = { ...TIMES, ...patience };
  const logger = ctx.logger.child({ role: ROLE });
  const keys = keyspace(config.partitions, { oneNode: store.kind !== 'cluster' });
  const observe: ScriptObserver = (name, seconds) => metrics.redisSeconds.of(name).observe(seconds);
  const verbs = new Verbs(store.command, keys, observe);
  const presence = new PresenceVerbs(store.command, keys, observe);
  const held = new Set<number>();
  const shared = { store, presence, metrics, logger, holds: (p: number) => held.has(p) };
  const leaving = new Leaving({ ...shared, graceMs: times.graceMs, onRound: () => leases.completedRound() });
  const { missingMs, massMs, rollCallEveryMs } = times;
  const reaper = new Reaper({ ...shared, keys, verbs, times: { missingMs, massMs, breakMs: 3 * rollCallEveryMs } });
  const leases: PartitionLeases = new PartitionLeases({
    store,
    partitions: config.partitions,
    role: ROLE,
    worker: ctx.incarnation,
    logger,
    onGained: (p) => {
      held.add(p);
      metrics.leases.of(ROLE, String(p)).set(1);
    },
    onLost: async (p) => {
      held.delete(p);
      metrics.leases.of(ROLE, String(p)).set(0);
      reaper.lose(p);
    },
  });
  const timers = [
    repeat('settling who left', times.settleEveryMs, logger, async () => leaving.settle([...held])),
    repeat('the roll call of the gateways', rollCallEveryMs, logger, async () => reaper.look([...held])),
  ];
  await leases.start();
  return {
    async stop() {
      for (const stop of timers) stop();
      await reaper.stop();
      await leases.stop();
    },
  };
}

// Called with one argument: the patience is for tests.
if (import.meta.main) await startAlone(ROLE, (ctx) => startPresence(ctx));
