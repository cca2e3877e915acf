/**
 * What the store has of this gateway's sessions: attached with the hello, detached with the close, however often that has to
 * be asked. And how many of them it should have, by partition, to be compared with how many it has (`served`): while a
 * call that changes it is under way nobody can tell.
 */
import { backOff } from '../../lib/redis/follow.ts';
import { maxId } from '../../lib/redis/ids.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { Attached, DetachInput, Reasserted } from '../../lib/redis/verbs.ts';
import type { GatewayContext } from './context.ts';
import type { Session } from './session.ts';
import { Slots } from './slots.ts';
import { Turns } from './turns.ts';

/** An outage of some minutes: a session that stays registered counts as connected, and among the user's eight. */
const DETACH_ATTEMPTS = 100;
/** Who waits to be tried again has no slot; and few begin in a turn of the event loop: a send does not wait for them. */
const DETACHES_AT_ONCE = 64;
const DETACHES_PER_TURN = 8;
/** More than a partition's share of what one gateway serves. */
const SURPLUS_AT_ONCE = 10_000;

interface Count {
  registered: number;
  underWay: number;
  /** Calls that ended: two looks with the same number have nothing between them. */
  ended: number;
}

export class Registrations {
  readonly #ctx: GatewayContext;
  readonly #counts: readonly Count[];
  /** The call under way that puts a session into the store. */
  readonly #coming = new Map<Session, Promise<unknown>>();
  readonly #slots: Slots;
  readonly #turns = new Turns(DETACHES_PER_TURN);
  #stopping = false;

  constructor(ctx: GatewayContext) {
    this.#ctx = ctx;
    this.#slots = new Slots(ctx, DETACHES_AT_ONCE);
    this.#counts = Array.from({ length: ctx.keys.partitions }, () => ({ registered: 0, underWay: 0, ended: 0 }));
  }

  async attach(session: Session, user: string, since: string | undefined): Promise<Attached | 'too_many'> {
    const { incarnation: gateway, config, verbs, metrics } = this.#ctx;
    const { device, id } = session;
    const limits = { maxSessions: config.limits.sessions, maxDevices: config.knownDevices };
    const input = { user, device, session: id, gateway, ...limits, ...(since === undefined ? {} : { since }) };
    return this.#change<Attached | 'too_many'>(session, user, async () => {
      const attached = await this.#putting([session], verbs.attach(input));
      if (attached === 'too_many') return [attached, session.registered];
      if (attached.online) metrics.presenceChanges.of('online').inc();
      return [attached, true];
    });
  }

  /** Puts back what the store has lost of these sessions, in one call. */
  reassert(sessions: readonly Session[]): Promise<Reasserted[]> {
    const { incarnation, verbs } = this.#ctx;
    const named = sessions.map(({ feed, device, id, offset, gapToldTo }) => ({
      user: feed?.user ?? '',
      device,
      session: id,
      // A gap that it was told of is not told again.
      offset: maxId(offset, gapToldTo),
    }));
    return this.#putting(sessions, verbs.reassert(incarnation, named));
  }

  /**
   * What puts a session into the store may be carried out after a detach that was sent later: a restarted server does not
   * know its script, a slot moves. Such a session would stay for ever, so a detach waits for what is under way.
   */
  async #putting<T>(sessions: readonly Session[], call: Promise<T>): Promise<T> {
    for (const session of sessions) this.#coming.set(session, call);
    try {
      return await call;
    } finally {
      for (const session of sessions) if (this.#coming.get(session) === call) this.#coming.delete(session);
    }
  }

  /** Also of a session whose attach failed: it may have happened all the same. */
  detach(session: Session, user: string): Promise<void> {
    const { device, id } = session;
    return this.#change(session, user, async () => {
      await Promise.allSettled([this.#coming.get(session)]);
      await this.#untilDetached({ user, device, session: id, gateway: this.#ctx.incarnation });
      return [undefined, false];
    });
  }

  async #untilDetached(session: DetachInput): Promise<void> {
    const { user, device } = session;
    for (let failures = 0; ; failures++) {
      try {
        await this.#slots.run(user, async () => {
          await this.#turns.next();
          await this.#ctx.verbs.detach(session);
        });
        return;
      } catch (error) {
        this.#ctx.metrics.retries.of('detach').inc();
        if (this.#stopping || failures >= DETACH_ATTEMPTS || !isRetryable(error)) {
          this.#ctx.logger.error({ err: error, user, device }, 'a session that ended stays registered');
          return;
        }
        this.#ctx.logger.warn({ err: error, user }, 'detaching failed, trying again');
        await backOff(failures + 2);
      }
    }
  }

  /** Detaches what the store has registered here and is no session of ours: a failover, or a lost answer, left it. */
  async detachSurplus(p: number, isOurs: (session: string) => boolean): Promise<void> {
    const { presence, incarnation: gateway, verbs, logger } = this.#ctx;
    try {
      for (const session of await presence.served(p, gateway, SURPLUS_AT_ONCE)) {
        if (!isOurs(session.session)) await verbs.detach({ ...session, gateway });
      }
    } catch (error) {
      logger.warn({ err: error, partition: p }, 'looking for sessions that are no more failed');
    }
  }

  /** Around a call after which the session is registered, or is not. */
  async #change<T>(session: Session, user: string, call: () => Promise<[reply: T, registered: boolean]>): Promise<T> {
    const count = this.#counts[this.#ctx.keys.partitionOf(user)] as Count;
    count.underWay++;
    try {
      const [reply, registered] = await call();
      if (registered !== session.registered) count.registered += registered ? 1 : -1;
      session.registered = registered;
      return reply;
    } finally {
      count.underWay--;
      count.ended++;
    }
  }

  /** To be handed to `differs` with the answer to what was asked after this. */
  look(p: number): number | undefined {
    const count = this.#counts[p];
    return count?.underWay === 0 ? count.ended : undefined;
  }

  /** Whether the store, asked after that look, has another number than we do; false when that cannot be told. */
  differs(p: number, look: number | undefined, served: number): boolean {
    return look !== undefined && this.look(p) === look && this.#counts[p]?.registered !== served;
  }

  /** Sessions that cannot be detached at once are left to the reaper. */
  stop(): void {
    this.#stopping = true;
  }
}
