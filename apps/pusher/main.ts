/** The pusher as a process: leases partitions, reads their queues of wake-ups, and sends what is still due. */
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { PartitionLeases } from '../../lib/partitions/leases.ts';
import { InFlight } from '../../lib/process/in-flight.ts';
import { startAlone } from '../../lib/process/run.ts';
import { msOf } from '../../lib/redis/ids.ts';
import { PushVerbs } from '../../lib/redis/push-verbs.ts';
import { PushQueue } from './queue.ts';
import { logSender, type Sender } from './sender.ts';
import { PACE, type Pace, Waker } from './waker.ts';

const ROLE = 'pusher';
/** Every wake-up waits for seconds anyway: nobody has to block for it. */
const POLL_MS = 500;
const CLAIM_EVERY_MS = 5000;
const MEASURE_EVERY_MS = 2000;
const PER_READ = 500;
/** The rest stays in the queue. */
const MOST_IN_MEMORY = 10_000;

/** Tests bring less patience, and a sender of their own. */
export interface PusherOptions {
  pace?: Pace;
  sender?: Sender;
}

export async function startPusher(ctx: AppContext, options: PusherOptions = {}): Promise<RunningApp> {
  const { store, metrics, config } = ctx;
  const logger = ctx.logger.child({ role: ROLE });
  const keys = keyspace(config.partitions, { oneNode: store.kind !== 'cluster' });
  const push = new PushVerbs(store.command, keys, (name, seconds) => metrics.redisSeconds.of(name).observe(seconds));
  const queue = new PushQueue(store, keys, ctx.incarnation);
  const sender = options.sender ?? (await openSender(ctx));
  logger.info(sender.description);

  const held = new Set<number>();
  /** The partitions whose group is there, and of which all that is pending here was taken. */
  const opened = new Set<number>();
  const leases: PartitionLeases = new PartitionLeases({
    store,
    partitions: config.partitions,
    role: ROLE,
    worker: ctx.incarnation,
    logger,
    onGained: (p) => {
      held.add(p);
      // Here and not when it is lost: a round that was under way then may have opened it since, in vain.
      opened.delete(p);
      metrics.leases.of(ROLE, String(p)).set(1);
    },
    onLost: async (p) => {
      held.delete(p);
      metrics.leases.of(ROLE, String(p)).set(0);
      metrics.pushQueueEntries.remove(String(p));
      metrics.pushQueueAge.remove(String(p));
      await waker.leave(p);
    },
  });

  const holds = (p: number) => leases.held().includes(p);
  const waker = new Waker({ queue, push, sender, metrics, logger, pace: options.pace ?? PACE, holds });

  const rounds = new InFlight<number>();
  const claimAt = new Map<number, number>();
  const measureAt = new Map<number, number>();

  /** One look at the queues that one command may read. A queue that cannot be read keeps nobody else's from it. */
  async function round(group: readonly number[]): Promise<void> {
    for (const p of group) {
      if (!opened.has(p)) await attempt(p, () => open(p));
      if (opened.has(p) && isDue(claimAt, p, CLAIM_EVERY_MS)) await attempt(p, () => take(() => queue.claim(p)));
      if (isDue(measureAt, p, MEASURE_EVERY_MS)) await attempt(p, () => measure(p));
    }
    const readable = group.filter((p) => opened.has(p));
    if (waker.size < MOST_IN_MEMORY && readable.length > 0) {
      try {
        await take(() => queue.read(readable, PER_READ));
      } catch (error) {
        if (readable.length === 1) forget(readable[0] ?? 0, error);
        else for (const p of readable) await attempt(p, () => take(() => queue.read([p], PER_READ)));
      }
    }
    leases.completedRound();
  }

  async function open(p: number): Promise<void> {
    await queue.open(p);
    opened.add(p);
    await take(() => queue.own(p));
    await queue.tidy(p);
  }

  async function take(read: () => ReturnType<PushQueue['read']>): Promise<void> {
    // Of a partition that was lost meanwhile: pending here, until the next worker claims it.
    for (const entry of await read()) if (held.has(entry.partition)) waker.add(entry);
  }

  async function measure(p: number): Promise<void> {
    const { entries, oldestId } = await queue.length(p);
    if (!held.has(p)) return;
    metrics.pushQueueEntries.of(String(p)).set(entries);
    metrics.pushQueueAge.of(String(p)).set(oldestId ? Math.max(0, (Date.now() - msOf(oldestId)) / 1000) : 0);
  }

  async function attempt(p: number, work: () => Promise<void>): Promise<void> {
    await work().catch((error: unknown) => forget(p, error));
  }

  /** The group may be gone with the store's data: it is looked for again. */
  function forget(p: number, error: unknown): void {
    opened.delete(p);
    metrics.retries.of('push_queue').inc();
    logger.warn({ err: error, partition: p }, 'reading a queue of wake-ups failed, trying again');
  }

  const timer = setInterval(() => {
    for (const group of store.groups(rounds.idle(held))) rounds.start(group, () => round(group));
  }, POLL_MS);

  await leases.start();
  return {
    async stop() {
      clearInterval(timer);
      await rounds.all();
      await leases.stop();
      await sender.close();
    },
  };
}

function isDue(at: Map<number, number>, p: number, everyMs: number): boolean {
  const now = performance.now();
  if (now < (at.get(p) ?? 0)) return false;
  at.set(p, now + everyMs);
  return true;
}

/** firebase-admin is large: only a process that sends loads it. */
async function openSender(ctx: AppContext): Promise<Sender> {
  const { credentialsFile, proxy, snippet } = ctx.config.push;
  if (credentialsFile === undefined) return logSender(ctx.logger, snippet);
  const { fcmSender } = await import('./fcm.ts');
  return fcmSender({ credentialsFile, snippet, ...(proxy === undefined ? {} : { proxy }) });
}

if (import.meta.main) await startAlone('pusher', startPusher);
