/**
 * `typing`: the most ephemeral thing there is, so whenever anything is scarce it is dropped, here and where it arrives.
 *
 * On its way: from the session, in words that say something new and not too many; to the members' gateways through one
 * script call per member partition, which says it once per gateway; to those sessions that are live and keep up.
 */
import type { TypingFrame } from '../../lib/protocol/frames.ts';
import { SignalVerbs } from '../../lib/redis/signal-verbs.ts';
import { targetOf } from './accept.ts';
import { blockedWith } from './blocks.ts';
import type { Caller, GatewayContext } from './context.ts';
import type { Feed } from './feed.ts';
import { isPresent, membershipOf, parseMember } from './membership.ts';
import type { Pressure } from './pressure.ts';
import type { Session } from './session.ts';
import { textFrames } from './wire.ts';

/** The same state said again within this is not passed on; receivers forget it after twice as long. */
const REPEAT_AFTER_MS = 3000;
/** Per session. */
const PER_SECOND = 5;
/** Channels of a session of which it is remembered what was said last. */
const CHANNELS_REMEMBERED = 16;
/** Waiting for the store at once, in the whole gateway. */
const IN_FLIGHT = 64;
/** What waited longer is no news any more. */
const STALE_MS = 1000;

/** What a session said last; made when it first types. */
export interface Typed {
  readonly channels: Map<string, { on: boolean; at: number }>;
  /** The second that is counted. */
  from: number;
  count: number;
}

export class Typing {
  readonly #ctx: GatewayContext;
  readonly #pressure: Pressure;
  readonly #verbs: SignalVerbs;
  readonly #feedOf: (user: string) => Feed | undefined;
  #inFlight = 0;

  constructor(ctx: GatewayContext, pressure: Pressure, feedOf: (user: string) => Feed | undefined) {
    this.#ctx = ctx;
    this.#pressure = pressure;
    this.#feedOf = feedOf;
    const observe = (name: string, seconds: number) => ctx.metrics.redisSeconds.of(name).observe(seconds);
    this.#verbs = new SignalVerbs(ctx.store.command, ctx.keys, observe);
  }

  /** Throws MillraceError `forbidden` or `not_found`; what is dropped is not told. */
  async say(session: Session, caller: Caller, { channel, on }: TypingFrame): Promise<void> {
    const { kind } = targetOf(caller, { channel });
    const now = performance.now();
    session.typed ??= { channels: new Map(), from: now, count: 0 };
    const { typed } = session;
    const last = typed.channels.get(channel);
    if (last?.on === on && now - last.at < REPEAT_AFTER_MS) return this.#drop('repeated');
    if (now - typed.from >= 1000) {
      typed.from = now;
      typed.count = 0;
    }
    if (typed.count >= PER_SECOND) return this.#drop('rate');
    if (this.#inFlight >= IN_FLIGHT || this.#pressure.late) return this.#drop('pressure');
    typed.count++;
    remember(typed, channel, on, now);
    this.#inFlight++;
    try {
      const others = kind === 'direct' ? await this.#peer(caller, channel) : await this.#members(caller, channel);
      if (others.length === 0) return;
      if (performance.now() - now > STALE_MS) return this.#drop('pressure');
      await this.#pass(others, JSON.stringify({ type: 'typing', channel, user: caller.user, on }));
    } catch (error) {
      typed.channels.delete(channel);
      throw error;
    } finally {
      this.#inFlight--;
    }
  }

  /** For the sessions of these users here. */
  heard(users: readonly string[], frame: string): void {
    if (this.#pressure.late) {
      this.#drop('pressure');
      return;
    }
    let bytes: Buffer | undefined;
    for (const user of users) {
      for (const session of this.#feedOf(user)?.live ?? []) {
        if (session.congested) {
          this.#drop('congested');
          continue;
        }
        bytes ??= textFrames([frame]);
        session.sendBytes(bytes);
        this.#ctx.metrics.signalFrames.of('typing').inc();
      }
    }
  }

  async #peer(caller: Caller, channel: string): Promise<string[]> {
    const peers = channel
      .split(':')
      .slice(1)
      .filter((user) => user !== caller.user);
    const blocked = await blockedWith(this.#ctx, caller.user, peers);
    return peers.filter((user) => !blocked.has(user));
  }

  async #members(caller: Caller, channel: string): Promise<string[]> {
    // A service manages every group, but has nothing to type where it is no member.
    const { members: count } = await membershipOf(this.#ctx, { ...caller, service: false }, channel);
    if (count > this.#ctx.config.limits.receipts_up_to) {
      this.#drop('large group');
      return [];
    }
    const members = await this.#ctx.store.command.hgetall(this.#ctx.keys.members(channel));
    return Object.entries(members)
      .filter(([user, value]) => user !== caller.user && isPresent(parseMember(value)))
      .map(([user]) => user);
  }

  async #pass(users: readonly string[], frame: string): Promise<void> {
    const { store, keys } = this.#ctx;
    const byGroup = new Map<number, string[]>();
    for (const user of users) {
      const group = store.kind === 'cluster' ? keys.partitionOf(user) : 0;
      const list = byGroup.get(group);
      if (list) list.push(user);
      else byGroup.set(group, [user]);
    }
    await Promise.all([...byGroup.values()].map((some) => this.#verbs.signal(some, frame)));
  }

  #drop(reason: 'repeated' | 'rate' | 'pressure' | 'congested' | 'large group'): void {
    this.#ctx.metrics.signalsDropped.of(reason).inc();
  }
}

function remember(typed: Typed, channel: string, on: boolean, at: number): void {
  typed.channels.delete(channel); // to the end: the first one is the oldest
  typed.channels.set(channel, { on, at });
  for (const oldest of typed.channels.keys()) {
    if (typed.channels.size <= CHANNELS_REMEMBERED) return;
    typed.channels.delete(oldest);
  }
}
