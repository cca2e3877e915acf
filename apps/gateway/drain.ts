/**
 * How a gateway leaves: readiness fails and upgrades are refused at once; every session is told `goaway`, each with its
 * own delay, so that they arrive elsewhere one after the other; what they send meanwhile is accepted as ever; at the end
 * of the grace, or as soon as nobody is left, the rest is closed with 1012, each after its sends in flight were answered.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../lib/protocol/errors.ts';
import type { Hub } from './hub.ts';
import type { Session } from './session.ts';

const REASON = 'the server is being restarted';
/** Sessions that are told, or closed, in one turn of the event loop: others want to be answered meanwhile. */
const PER_TURN = 200;
const LOOK_MS = 50;
/** For appends in flight, and for the other side of the close handshake. */
const LAST_ANSWERS_MS = 2000;
const LAST_CLOSES_MS = 1000;
/** What a refused upgrade is told to wait: a balancer may need some seconds to see that we are not ready. */
const RETRY_AFTER_MS = 1000;

export class Drain {
  readonly #hub: Hub;
  #endsAt: number | undefined;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  get active(): boolean {
    return this.#endsAt !== undefined;
  }

  /** Throws what an upgrade is answered with while draining. */
  refuseUpgrade(): void {
    if (!this.active) return;
    throw new MillraceError('unavailable', REASON, { retryAfterMs: RETRY_AFTER_MS });
  }

  /** Of a session that is not up yet: there is nothing to finish. True when it was refused. */
  refuse(session: Session): boolean {
    if (!this.active) return false;
    if (session.open) {
      this.#tell(session, this.#anyTime(), 0);
      session.close('goingAway');
    }
    return true;
  }

  /** A session that came up in the very moment. */
  tellLate(session: Session): void {
    if (this.#endsAt === undefined) return;
    this.#tell(session, this.#anyTime(), this.#endsAt - performance.now());
  }

  /** Resolves when every session is gone, or has got all the time and answers that it gets. `hurry` ends the grace. */
  async run(hurry: AbortSignal): Promise<void> {
    const { sessions, ctx } = this.#hub;
    const { graceMs, spreadMs } = ctx.config.drain;
    const endsAt = performance.now() + graceMs;
    this.#endsAt = endsAt;
    for (const session of sessions.values()) if (session.state === 'new') this.refuse(session);
    const told = shuffled([...sessions.values()].filter((session) => session.feed));
    ctx.logger.info({ sessions: told.length, graceMs, spreadMs }, 'draining');
    for (const [i, session] of told.entries()) {
      if (hurry.aborted) break;
      // One in each slot of the spread: evenly, and yet at random for each.
      this.#tell(session, ((i + Math.random()) / told.length) * spreadMs, endsAt - performance.now());
      if (i % PER_TURN === PER_TURN - 1) await sleep(0);
    }
    while (sessions.size > 0 && performance.now() < endsAt && !hurry.aborted) await sleep(LOOK_MS);
    await this.#closeAll();
  }

  #anyTime(): number {
    return Math.random() * this.#hub.ctx.config.drain.spreadMs;
  }

  #tell(session: Session, reconnectMs: number, graceMs: number): void {
    const wholeMs = (ms: number) => Math.max(0, Math.round(ms));
    session.send({
      type: 'goaway',
      reason: REASON,
      reconnect_in_ms: wholeMs(reconnectMs),
      grace_ms: wholeMs(graceMs),
    });
  }

  async #closeAll(): Promise<void> {
    const { sessions, ctx } = this.#hub;
    const left = [...sessions.values()];
    if (left.length > 0) ctx.logger.info({ sessions: left.length }, 'closing the sessions that are left');
    for (let i = 0; i < left.length; i += PER_TURN) {
      for (const session of left.slice(i, i + PER_TURN)) void this.#close(session);
      await sleep(0);
    }
    const within = performance.now() + LAST_ANSWERS_MS + LAST_CLOSES_MS;
    while (sessions.size > 0 && performance.now() < within) await sleep(LOOK_MS);
    for (const session of left) session.socket.terminate();
  }

  async #close(session: Session): Promise<void> {
    // From here on its frames are left unread: what is sent now is for the next gateway.
    session.state = 'closed';
    const inFlight = [...(session.sending?.values() ?? [])];
    if (inFlight.length > 0) {
      await Promise.race([Promise.all(inFlight), sleep(LAST_ANSWERS_MS, undefined, { ref: false })]);
      await sleep(0); // the answers are written after what was waited for here
    }
    session.close('goingAway');
  }
}

/** Fisher and Yates: those who came together, perhaps from the last gateway, do not go together. */
function shuffled<T>(list: T[]): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [list[i], list[j]] = [list[j] as T, list[i] as T];
  }
  return list;
}
