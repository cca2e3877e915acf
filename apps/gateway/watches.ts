/**
 * Whose presence the sessions of this gateway watch.
 *
 * A watched user's channel is subscribed once, whatever the number of watchers here: a change costs Redis one message per
 * gateway and this process one write, in slices, per watcher that is told. That is bounded: whoever begins to watch while so
 * many are told already is answered, and not told of changes; a later `watch` of the same user is answered anew, and takes
 * a place that has become free. A session that watches nobody holds nothing.
 *
 * Invariant: `state` of a watched user is what the store said last, once it has been read after the subscription; whoever
 * is told and may see it has been told exactly that, or, while its socket is full, is in line to be told the latest.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../lib/protocol/errors.ts';
import type { UnwatchFrame, WatchFrame } from '../../lib/protocol/frames.ts';
import { backOff } from '../../lib/redis/follow.ts';
import type { Subscriber } from '../../lib/redis/subscriber.ts';
import type { Caller, GatewayContext } from './context.ts';
import { type Presence, parsePresence, readPresence, samePresence, UNKNOWN } from './presence.ts';
import type { Session } from './session.ts';
import { paceMs, Sights } from './sights.ts';
import { visibleTo } from './visibility.ts';
import { textFrames } from './wire.ts';

/** How long an answer waits for the subscription; then it is what the store says now, and a later renewal corrects it. */
const SUBSCRIBE_WAIT_MS = 1000;
const READS_AT_ONCE = 200;
/** Between two slices the gateway does other things. */
const WRITES_AT_ONCE = 500;
/** Who may see whom is looked at again so often. */
export const RECHECK_MS = 60_000;
/** A renewal that finds the store unreachable; after these the next round repairs. */
const RENEW_ATTEMPTS = 20;

class Watched {
  readonly user: string;
  readonly channel: string;
  /** Undefined until first read. */
  state: Presence | undefined;
  /** Counts messages: a read that one overtook is older than it. */
  heard = 0;
  /** Sessions that watch. */
  watchers = 0;
  /** Those of them that are told of changes. */
  readonly told = new Set<Session>();

  constructor(user: string, channel: string) {
    this.user = user;
    this.channel = channel;
  }
}

export class Watches {
  readonly #ctx: GatewayContext;
  readonly #subscriber: Subscriber;
  readonly #users = new Map<string, Watched>();
  readonly #byChannel = new Map<string, Watched>();
  /** Those that watch somebody. */
  readonly #sessions = new Set<Session>();
  readonly sights: Sights;
  readonly #timer: NodeJS.Timeout;
  #rechecking = false;
  #stopping = false;

  constructor(ctx: GatewayContext, subscriber: Subscriber, recheckMs = RECHECK_MS) {
    this.#ctx = ctx;
    this.#subscriber = subscriber;
    this.sights = new Sights(ctx, (session, user, visible) => {
      const state = this.#users.get(user)?.state ?? UNKNOWN;
      if (samePresence(state, UNKNOWN)) return;
      this.#tell(session, user, textFrames([frameOf(user, visible ? state : UNKNOWN)]));
    });
    this.#timer = setInterval(() => void this.#recheck(recheckMs), recheckMs);
    this.#timer.unref();
  }

  async watch(session: Session, caller: Caller, frame: WatchFrame): Promise<void> {
    const users = [...new Set(frame.users)];
    const added = users.filter((user) => !session.watching?.has(user));
    const most = this.#ctx.config.limits.watched;
    if ((session.watching?.size ?? 0) + added.length > most) {
      throw new MillraceError('bad_request', `users: at most ${most} are watched in a session`);
    }
    if (users.length === 0) return;
    // Before anything is awaited: a close, or another frame, finds them there.
    const all = users.map((user) => this.#add(session, user));
    try {
      await this.#subscribe(all, added);
      const asOf = this.sights.begin();
      const [visible] = await Promise.all([
        visibleTo(this.#ctx, caller.user, users),
        this.#read(all.filter((one) => one.state === undefined || !this.#subscriber.hears(one.channel))),
      ]);
      const ref = frame.ref === undefined ? {} : { ref: frame.ref };
      const answers = all.map((one) => {
        const seen = this.sights.note(session, one.user, visible.has(one.user), asOf);
        return frameOf(one.user, seen ? one.state : UNKNOWN, ref);
      });
      session.sendBytes(textFrames(answers));
      this.#ctx.metrics.signalFrames.of('presence').inc(all.length);
    } catch (error) {
      this.#remove(session, added);
      throw error;
    }
  }

  unwatch(session: Session, frame: UnwatchFrame): void {
    this.#remove(session, frame.users);
  }

  /** The session has ended. */
  forget(session: Session): void {
    if (session.watching) this.#remove(session, [...session.watching.keys()]);
  }

  /** What was said on a user's channel. */
  heard(channel: string, message: string): void {
    const watched = this.#byChannel.get(channel);
    if (!watched) return;
    watched.heard++;
    this.#become(watched, parsePresence(message));
  }

  /** Nothing was heard on these channels for a while: what the store says now is pushed where it is news. */
  async renew(channels: readonly string[]): Promise<void> {
    const users = channels.flatMap((channel) => this.#byChannel.get(channel) ?? []);
    for (let failures = 0; users.length > 0 && !this.#stopping; ) {
      try {
        await this.#read(users);
        return;
      } catch (error) {
        this.#ctx.metrics.retries.of('presence').inc();
        if (++failures >= RENEW_ATTEMPTS) {
          this.#ctx.logger.warn(
            { err: error, users: users.length },
            'presence was not read again; the next round does it',
          );
          return;
        }
        await backOff(failures);
      }
    }
  }

  stop(): void {
    this.#stopping = true;
    this.sights.stop();
    clearInterval(this.#timer);
  }

  #add(session: Session, user: string): Watched {
    let watched = this.#users.get(user);
    if (!watched) {
      watched = new Watched(user, this.#ctx.keys.presence(user));
      this.#users.set(user, watched);
      this.#byChannel.set(watched.channel, watched);
      this.#ctx.metrics.watchedUsers.inc();
    }
    session.watching ??= new Map();
    if (!session.watching.has(user)) {
      session.watching.set(user, { visible: false, asOf: 0 });
      watched.watchers++;
    }
    if (watched.told.size < this.#ctx.config.watchersTold) watched.told.add(session);
    this.#sessions.add(session);
    return watched;
  }

  async #subscribe(all: readonly Watched[], added: readonly string[]): Promise<void> {
    const fresh = new Set(added);
    const channels = all.filter((one) => fresh.has(one.user)).map((one) => one.channel);
    if (channels.length > 0) await this.#subscriber.subscribe(channels, SUBSCRIBE_WAIT_MS);
  }

  /** Each watcher's subscription counts. */
  #remove(session: Session, users: readonly string[]): void {
    const channels: string[] = [];
    for (const user of users) {
      if (!session.watching?.delete(user)) continue;
      session.untold?.delete(user);
      const watched = this.#users.get(user);
      if (!watched) continue;
      channels.push(watched.channel);
      watched.told.delete(session);
      if (--watched.watchers > 0) continue;
      this.#users.delete(user);
      this.#byChannel.delete(watched.channel);
      this.#ctx.metrics.watchedUsers.dec();
    }
    this.#subscriber.unsubscribe(channels);
    if (session.watching?.size !== 0) return;
    session.watching = undefined;
    session.untold = undefined;
    this.#sessions.delete(session);
  }

  async #read(users: readonly Watched[]): Promise<void> {
    for (let i = 0; i < users.length; i += READS_AT_ONCE) {
      const some = users.slice(i, i + READS_AT_ONCE);
      const before = some.map((one) => one.heard);
      const read = await readPresence(
        this.#ctx,
        some.map((one) => one.user),
      );
      some.forEach((one, at) => {
        if (one.heard === before[at]) this.#become(one, read[at] ?? UNKNOWN);
      });
      await nextTurn();
    }
  }

  #become(watched: Watched, state: Presence): void {
    const before = watched.state;
    watched.state = state;
    // Nobody can have been told anything else before it was first known.
    if (before === undefined || samePresence(before, state)) return;
    void this.#push(watched, state);
  }

  async #push(watched: Watched, state: Presence): Promise<void> {
    this.#ctx.metrics.signalsDropped.of('many watchers').inc(watched.watchers - watched.told.size);
    const bytes = textFrames([frameOf(watched.user, state)]);
    let written = 0;
    for (const session of [...watched.told]) {
      if (!session.watching?.get(watched.user)?.visible) continue;
      this.#tell(session, watched.user, bytes);
      if (++written % WRITES_AT_ONCE !== 0) continue;
      await nextTurn();
      if (watched.state !== state) return; // a newer one is on its way to all of them
    }
  }

  /** At once, or, when the client does not read, the latest state once it does. */
  #tell(session: Session, user: string, bytes: Buffer): void {
    if (!session.open) return;
    if (!session.congested) {
      session.sendBytes(bytes);
      this.#ctx.metrics.signalFrames.of('presence').inc();
      return;
    }
    this.#ctx.metrics.signalsDropped.of('congested').inc();
    if (session.untold) return void session.untold.add(user);
    session.untold = new Set([user]);
    session.raw.once('drain', () => this.#catchUp(session));
  }

  #catchUp(session: Session): void {
    const users = [...(session.untold ?? [])];
    session.untold = undefined;
    for (const user of users) {
      const watched = this.#users.get(user);
      const sight = session.watching?.get(user);
      if (watched && sight) {
        this.#tell(session, user, textFrames([frameOf(user, sight.visible ? watched.state : UNKNOWN)]));
      }
    }
  }

  /** Whether each watcher still may see whom they watch; and the states themselves, should a message have been lost. */
  async #recheck(everyMs: number): Promise<void> {
    if (this.#rechecking) return;
    this.#rechecking = true;
    try {
      await this.#read([...this.#users.values()]);
      for (const session of [...this.#sessions]) {
        if (this.#stopping) return;
        const { watching } = session;
        if (!watching || !session.open) continue;
        const users = [...watching.keys()];
        await this.sights.look(session, users);
        // No faster than the pace, and never all at once.
        await sleep(Math.min(paceMs(users.length), everyMs));
      }
    } catch (error) {
      this.#ctx.metrics.retries.of('presence').inc();
      this.#ctx.logger.warn({ err: error }, 'who may see whose presence was not checked; the next round does it');
    } finally {
      this.#rechecking = false;
    }
  }
}

function frameOf(user: string, state: Presence = UNKNOWN, ref: { ref?: string } = {}): string {
  return JSON.stringify({ type: 'presence', user, status: state.status, last_seen: state.lastSeen, ...ref });
}
