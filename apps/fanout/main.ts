/** Fan-out as a process: leases partitions, follows their logs, writes inboxes. */
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { LogWorker } from '../../lib/partitions/log-worker.ts';
import { LOG_ROLES, LOG_TAIL_MS } from '../../lib/partitions/roles.ts';
import { repeat } from '../../lib/process/repeat.ts';
import { startAlone } from '../../lib/process/run.ts';
import { Rebuilder } from '../../lib/rebuild/index.ts';
import { msOf, ZERO } from '../../lib/redis/ids.ts';
import { busyIntervalMs } from '../../lib/redis/interval.ts';
import { CROWDED, logFill } from '../../lib/redis/log-size.ts';
import { PushVerbs } from '../../lib/redis/push-verbs.ts';
import { ScriptLanes } from '../../lib/redis/script-lane.ts';
import type { ScriptObserver } from '../../lib/redis/scripts.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { LateWakeups } from './late-wakeups.ts';
import { FanoutWorker } from './worker.ts';

const ROLE = 'fanout';
const CHECK_MS = 2000;
const ADVANCE_MS = 1000;

export async function startFanout(ctx: AppContext): Promise<RunningApp> {
  const { store, metrics, config } = ctx;
  const logger = ctx.logger.child({ role: ROLE });
  const keys = keyspace(config.partitions, { oneNode: store.kind !== 'cluster' });
  const lanes = new ScriptLanes(store, keys, config.ackReplicas);
  const observe: ScriptObserver = (name, seconds) => metrics.redisSeconds.of(name).observe(seconds);
  const verbs = new Verbs(store.command, keys, observe, lanes);
  const late = new LateWakeups({
    rebuild: new Rebuilder({ store, keys, archive: ctx.archive, metrics, logger }),
    push: new PushVerbs(store.command, keys),
    logger,
  });
  const onLost = late.add.bind(late);
  const worker = new FanoutWorker({ store, keys, verbs, lanes, onLost, metrics, logger });
  const logs = new LogWorker(ctx, {
    role: ROLE,
    logger,
    count: 200,
    intervalMs: busyIntervalMs,
    gain: (p) => worker.gain(p),
    lose: (p) => worker.lose(p),
    handle: (batches) => worker.handle(batches),
    onRetry: () => metrics.retries.of('read_log').inc(),
    onReconnect: () => worker.forgetMembers(),
  });

  const advanced = new Map<number, string>();
  async function advance(): Promise<void> {
    await Promise.all(
      [...logs.held].map(async (p) => {
        const position = worker.position(p);
        if (!position || position === ZERO) return;
        const [last] = await store.command.xrevrange(keys.log(p), '+', '-', 'COUNT', 1);
        const behind = last !== undefined && msOf(last[0]) > msOf(position);
        metrics.logLagSeconds.of(ROLE, String(p)).set(behind ? Math.max(0, (Date.now() - msOf(position)) / 1000) : 0);
        metrics.logLagEntries.of(ROLE, String(p)).set(worker.queued.get(p) ?? 0);
        // A crowded log is trimmed on, though nothing new comes: sends may be refused until it has room.
        if (advanced.get(p) === position && (await logFill(store.command, keys.log(p), config)) <= CROWDED) return;
        await verbs.advance(p, ROLE, position, { tailMs: LOG_TAIL_MS, ...config }, LOG_ROLES);
        advanced.set(p, position);
      }),
    );
  }

  const timers = [
    repeat('checking the cursors', CHECK_MS, logger, () => worker.check()),
    repeat('advancing', ADVANCE_MS, logger, advance),
  ];

  await logs.start();
  return {
    async stop() {
      for (const stop of timers) stop();
      await worker.settle(2000);
      await advance().catch((error: unknown) =>
        logger.warn({ err: error }, 'the last advance failed; the next worker repeats it'),
      );
      await logs.stop();
      worker.stop();
      late.stop();
    },
  };
}

if (import.meta.main) await startAlone('fanout', startFanout);
