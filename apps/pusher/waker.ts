/**
 * From queued wake-ups to sent ones. Each user's wait a little together: a burst wakes a device once, and most of what is
 * queued is acked before its time (by the device that reconnects, or by another one). Then the store is asked once more,
 * and what is still due is sent, per device, as one.
 *
 * Invariant: an entry is finished in the store only when each of its devices was woken, needed no waking, or has its dead
 * letter; until then it is pending there, so whatever happens to this process it is done again by somebody.
 */
import pLimit from 'p-limit';
import type { PushVerbs, Target, Wakeup } from '../../lib/redis/push-verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';
import type { DeadPush, PushQueue, Queued } from './queue.ts';
import type { Outcome, Sender } from './sender.ts';

/** How patient the pusher is; tests are less so. */
export interface Pace {
  /** From being queued to being sent. */
  waitMs: number;
  /** A burst that goes on is not waited out for longer. */
  mostWaitMs: number;
  /** Of one wake-up of one device; then it is a dead letter. */
  attempts: number;
  backoffMs: number;
  mostBackoffMs: number;
}
export const PACE: Pace = { waitMs: 3000, mostWaitMs: 6000, attempts: 8, backoffMs: 1000, mostBackoffMs: 60_000 };

const SENDS_AT_ONCE = 64;

interface Job extends Queued {
  /** Devices that nothing was decided of. */
  left: Set<string>;
  dueAt: number;
}

interface User {
  user: string;
  partition: number;
  jobs: Job[];
  timer?: NodeJS.Timeout;
  running?: Promise<void>;
  /** Aborted when an answer is not waited for any longer: the partition is left. */
  leaving: AbortController;
  /** Devices that FCM did not take the last wake-up of. */
  retries: Map<string, { attempts: number; notBefore: number }>;
}

export interface WakerOptions {
  queue: PushQueue;
  push: PushVerbs;
  sender: Sender;
  metrics: Metrics;
  logger: Logger;
  pace?: Pace;
  /** Is the partition ours, by the clock: a process that was frozen finds out here, before it sends what others have sent. */
  holds(partition: number): boolean;
}

/** Answers that FCM owes are waited for this long when a partition is left: its next worker, and a stop, wait too. */
const LEAVE_MS = 2000;
/** A burst's entries fall due some milliseconds apart, and are one wake-up. */
const BURST_MS = 50;

export class Waker {
  readonly #o: WakerOptions;
  readonly #pace: Pace;
  readonly #users = new Map<string, User>();
  /** Entries that are being dealt with, by partition and id: read again, they are no news. */
  readonly #known = new Set<string>();
  readonly #limit = pLimit(SENDS_AT_ONCE);
  /** FCM asked for a pause, for everyone. */
  #pausedUntil = 0;

  constructor(options: WakerOptions) {
    this.#o = options;
    this.#pace = options.pace ?? PACE;
  }

  /** Entries in memory. */
  get size(): number {
    return this.#known.size;
  }

  add(entry: Queued): void {
    const name = `${entry.partition} ${entry.id}`;
    if (this.#known.has(name)) return;
    this.#known.add(name);
    const { user } = entry.wakeup;
    const state: User = this.#users.get(user) ?? {
      user,
      partition: entry.partition,
      jobs: [],
      retries: new Map(),
      leaving: new AbortController(),
    };
    this.#users.set(user, state);
    // What waited in the queue has waited; the clocks of store and process may differ by a little.
    const waited = Math.max(0, Date.now() - Number(entry.id.slice(0, entry.id.indexOf('-'))));
    const now = performance.now();
    const dueAt = now + Math.max(0, this.#pace.waitMs - waited);
    state.jobs.push({ ...entry, left: new Set(entry.wakeup.devices), dueAt });
    const first = state.jobs[0]?.dueAt ?? dueAt;
    this.#schedule(state, Math.min(dueAt, first + this.#pace.mostWaitMs - this.#pace.waitMs));
  }

  /** Stops dealing with a partition's entries; those that are not finished go back. */
  async leave(partition: number): Promise<void> {
    const users = [...this.#users.values()].filter((state) => state.partition === partition);
    for (const state of users) {
      clearTimeout(state.timer);
      this.#users.delete(state.user);
    }
    const giveUp = setTimeout(() => {
      for (const state of users) state.leaving.abort();
    }, LEAVE_MS);
    await Promise.all(users.map((state) => state.running));
    clearTimeout(giveUp);
    const ids = users.flatMap((state) => state.jobs.map((job) => job.id));
    for (const id of ids) this.#known.delete(`${partition} ${id}`);
    await this.#o.queue.handBack(partition, ids);
  }

  #schedule(state: User, at: number): void {
    clearTimeout(state.timer);
    if (this.#users.get(state.user) !== state) return; // left
    state.timer = setTimeout(
      () => {
        if (state.running) return; // it schedules what is left when it ends
        state.running = this.#run(state).finally(() => {
          delete state.running;
          this.#next(state);
        });
      },
      Math.max(0, at - performance.now()),
    );
  }

  #next(state: User): void {
    if (state.jobs.length === 0) {
      if (this.#users.get(state.user) === state) this.#users.delete(state.user);
      return;
    }
    const ready = (job: Job) =>
      Math.max(job.dueAt, Math.min(...[...job.left].map((device) => state.retries.get(device)?.notBefore ?? 0)));
    this.#schedule(state, Math.max(Math.min(...state.jobs.map(ready)), this.#pausedUntil));
  }

  async #run(state: User): Promise<void> {
    const { queue, metrics, logger } = this.#o;
    const now = performance.now();
    const due = state.jobs.filter((job) => job.dueAt <= now + BURST_MS);
    const dead: DeadPush[] = [];
    try {
      if (due.length > 0 && this.#pausedUntil <= now) {
        const groups = await this.#stillDue(state, due);
        const sends = [...groups.values()].map((group) => this.#limit(() => this.#wake(state, group, dead)));
        await Promise.all(sends);
      }
      const finished = state.jobs.filter((job) => job.left.size === 0);
      if (finished.length === 0) return;
      await queue.finish(
        state.partition,
        finished.map((job) => job.id),
        dead,
      );
      if (dead.length > 0) metrics.deadLetters.of('pusher').inc(dead.length);
      state.jobs = state.jobs.filter((job) => job.left.size > 0);
      for (const job of finished) this.#known.delete(`${job.partition} ${job.id}`);
    } catch (error) {
      // Nothing is forgotten: what was sent meanwhile may be sent again.
      metrics.retries.of('push').inc();
      logger.warn({ err: error, user: state.user }, 'looking at wake-ups failed, trying again');
      for (const job of due) {
        job.dueAt = performance.now() + this.#pace.backoffMs;
        job.left = new Set(job.wakeup.devices);
      }
    }
  }

  /** By device: what it is to be woken for. */
  async #stillDue(state: User, due: readonly Job[]): Promise<Map<string, Group>> {
    const asked = due.map((job) => ({ ...job.wakeup, devices: [...job.left] }));
    const verdicts = await this.#o.push.stillDue(state.user, asked);
    const groups = new Map<string, Group>();
    const now = performance.now();
    due.forEach((job, i) => {
      asked[i]?.devices.forEach((device, d) => {
        const verdict = verdicts[i]?.[d] ?? 'gone';
        if (typeof verdict === 'string') {
          this.#o.metrics.pushesSuppressed.of(verdict).inc();
          job.left.delete(device);
          return;
        }
        if ((state.retries.get(device)?.notBefore ?? 0) > now) return;
        const group = groups.get(device) ?? { device, target: verdict, jobs: [] };
        groups.set(device, group);
        group.jobs.push(job);
      });
    });
    return groups;
  }

  async #wake(state: User, { device, target, jobs }: Group, dead: DeadPush[]): Promise<void> {
    const { push, sender, metrics, logger } = this.#o;
    const { user } = state;
    const wakeup = together(
      device,
      jobs.map((job) => job.wakeup),
    );
    const settle = () => {
      state.retries.delete(device);
      for (const job of jobs) job.left.delete(device);
    };
    if (!(await push.ownsToken(user, device, target.token))) {
      await push.dropToken(user, device, target.token);
      metrics.pushesSuppressed.of('moved').inc(jobs.length);
      return settle();
    }
    if (state.leaving.signal.aborted || !this.#o.holds(state.partition)) {
      // Soon to be left; should the partition stay ours after all, they are looked at again.
      for (const job of jobs) job.dueAt = performance.now() + this.#pace.backoffMs;
      return;
    }
    const outcome: Outcome = await sender.send({ ...wakeup, device, ...target }, state.leaving.signal);
    if (state.leaving.signal.aborted && outcome.kind === 'retry') return; // the next worker's
    if (outcome.kind === 'sent') {
      metrics.pushesSent.of(target.platform).inc();
      return settle();
    }
    const reason = outcome.kind === 'unregistered' ? 'unregistered' : outcome.reason;
    metrics.pushesFailed.of(reason).inc();
    if (outcome.kind === 'unregistered') {
      await push.dropToken(user, device, target.token);
      logger.info({ user, device }, 'a push token is dead and was removed');
      return settle();
    }
    const attempts = (state.retries.get(device)?.attempts ?? 0) + 1;
    if (outcome.kind === 'retry' && attempts < this.#pace.attempts) {
      const notBefore = performance.now() + (outcome.afterMs ?? this.#backoff(attempts));
      state.retries.set(device, { attempts, notBefore });
      if (outcome.everyone && outcome.afterMs !== undefined) this.#pausedUntil = Math.max(this.#pausedUntil, notBefore);
      return;
    }
    logger.error({ user, device, reason, attempts }, 'a push could not be sent and is a dead letter');
    dead.push({ wakeup, reason });
    settle();
  }

  #backoff(attempts: number): number {
    const most = Math.min(this.#pace.mostBackoffMs, this.#pace.backoffMs * 2 ** (attempts - 1));
    return most / 2 + (Math.random() * most) / 2;
  }
}

interface Group {
  device: string;
  target: Target;
  jobs: Job[];
}

/** One wake-up for several: the latest one's words, and how many messages there are. */
function together(device: string, wakeups: readonly Wakeup[]): Wakeup {
  const latest = wakeups.reduce((a, b) => (Number(b.offset.split('-')[0]) >= Number(a.offset.split('-')[0]) ? b : a));
  return { ...latest, devices: [device], count: wakeups.reduce((sum, { count }) => sum + count, 0) };
}
