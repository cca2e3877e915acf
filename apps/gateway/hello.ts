/** From a first frame to a session that is up: who it is, where it starts, what it is told. */
import type { Identity } from '../../lib/auth/index.ts';
import { type CloseReason, MillraceError } from '../../lib/protocol/errors.ts';
import type { HelloFrame } from '../../lib/protocol/frames.ts';
import { HEARTBEAT_MS } from '../../lib/protocol/limits.ts';
import { compareIds } from '../../lib/redis/ids.ts';
import { asMillraceError } from './accept.ts';
import type { Caller } from './context.ts';
import type { Hub } from './hub.ts';
import { identify } from './identify.ts';
import type { Session } from './session.ts';
import { Slots } from './slots.ts';
import { Turns } from './turns.ts';

/** Attaches at once: a reconnect storm is let in at the pace at which they are answered. */
const ATTACHES_AT_ONCE = 64;
/** Upgrades and hellos per turn of the event loop: some two milliseconds of it. */
const PER_TURN = 8;

export class Greeter {
  readonly #hub: Hub;
  readonly #slots: Slots;
  /** Whose turn it is, of all who come in. */
  readonly turns = new Turns(PER_TURN);

  constructor(hub: Hub) {
    this.#hub = hub;
    this.#slots = new Slots(hub.ctx, ATTACHES_AT_ONCE);
  }

  /** `upgrade`: who the upgrade's own Authorization header said. Resolves when the session is up, or closed. */
  async greet(session: Session, hello: HelloFrame, upgrade: Identity | undefined): Promise<void> {
    if (this.#hub.drain.refuse(session)) return;
    const answers = hello.ref === undefined ? {} : { ref: hello.ref };
    let caller: Caller;
    try {
      await this.turns.next();
      caller = await this.#authenticate(session, hello, upgrade);
    } catch (error) {
      const refusal = asMillraceError(this.#hub.ctx, error, 'hello');
      session.refuse(refusal, answers);
      session.close(closeAfter(refusal));
      return;
    }
    session.caller = caller;
    session.device = hello.device;
    try {
      await this.#slots.run(caller.user, () => this.#attach(session, caller, hello));
    } catch (error) {
      const refusal = asMillraceError(this.#hub.ctx, error, 'attach');
      session.refuse(refusal, answers);
      session.close(refusal.code === 'internal' ? 'internal' : 'goingAway');
      if (!session.feed) void this.#hub.abandon(session, caller.user);
      return;
    }
    if (session.state === 'attaching' && session.open) this.#hub.startReplay(session);
  }

  async #authenticate(session: Session, hello: HelloFrame, upgrade: Identity | undefined): Promise<Caller> {
    const identity = hello.token === undefined ? upgrade : await identify(this.#hub.ctx, hello.token);
    if (!identity) throw new MillraceError('unauthenticated', 'no token: put one into hello or the upgrade');
    if (upgrade && upgrade.user !== identity.user) {
      throw new MillraceError('unauthenticated', 'the tokens of upgrade and hello are of different users');
    }
    if (hello.user !== undefined && !identity.admin) {
      throw new MillraceError('forbidden', 'only a service token may act for another user');
    }
    session.expiresAt = identity.expiresAt;
    session.subject = identity.user;
    return {
      user: hello.user ?? identity.user,
      service: identity.admin,
      ...(identity.name === undefined ? {} : { name: identity.name }),
    };
  }

  async #attach(session: Session, { user }: Caller, hello: HelloFrame): Promise<void> {
    const { ctx } = this.#hub;
    if (!session.open) return;
    const attached = await this.#hub.registrations.attach(session, user, hello.since);
    if (attached === 'too_many') return session.close('tooManySessions');
    const list = attached.lost ? await ctx.rebuild.atOnce(user) : undefined;
    session.offset = attached.position;
    session.acked = attached.position;
    session.resumedTo = attached.tail;
    this.#hub.join(session, user, attached);
    if (!session.open) return this.#hub.depart(session); // closed meanwhile, before there was anything to detach
    if (attached.replaced?.gateway === ctx.incarnation) {
      this.#hub.sessions.get(attached.replaced.session)?.close('replaced');
    }
    if (compareIds(attached.position, attached.acked) > 0) {
      const { acked: from, position: offset } = attached;
      const covered = { covers: new Map(), unknownTo: offset, again: true };
      this.#hub.acks.add(session.id, { user, device: hello.device, from, offset, ...covered, few: false });
    }
    session.send({
      type: 'welcome',
      user,
      device: hello.device,
      session: session.id,
      offset: attached.position,
      resumed: !attached.first,
      heartbeat_ms: HEARTBEAT_MS,
      limits: ctx.config.limits,
    });
    this.#hub.drain.tellLate(session);
    if (attached.gap) {
      const since = hello.since ?? attached.position;
      await this.#hub.tellGap(session, since, attached.oldest, list?.missing);
    }
    this.#hub.tellWhenWhole(session, list);
  }
}

/** 4001 is final for a client: only for what it is to blame for. */
function closeAfter({ code }: MillraceError): CloseReason {
  if (code === 'unavailable') return 'goingAway';
  return code === 'internal' ? 'internal' : 'unauthenticated';
}
