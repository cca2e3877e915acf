/**
 * Who is typing where: what the user of this client does, said as seldom as serves, and what others do, until they stop
 * saying so. Frames may be dropped anywhere on the way, so nothing here waits for one.
 */
import type { TypedFrame, TypingFrame } from '../protocol/frames.ts';
import type { TypingEvent } from './events.ts';

/** Said again while it lasts. Gateways drop a repetition within 3 s: the margin is for the way there. */
export const RENEW_MS = 3_200;
/** Whoever has not said it for so long types no more. */
export const EXPIRE_MS = 6_000;

export interface TypingOptions {
  /** False when the session is not live. */
  write: (frame: TypingFrame) => boolean;
  changed: (event: TypingEvent) => void;
  now: () => number;
}

export class Typing {
  /** Channel → when it was last said in this session that the user types there. */
  private readonly said = new Map<string, number>();
  /** `channel user`, in the order in which they expire. */
  private readonly typing = new Map<string, { event: TypingEvent; until: number }>();
  /** For the first of them; none while nobody types. */
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly options: TypingOptions;

  constructor(options: TypingOptions) {
    this.options = options;
  }

  say(channel: string, on: boolean): void {
    const last = this.said.get(channel);
    const now = this.options.now();
    if (on ? last !== undefined && now - last < RENEW_MS : last === undefined) return;
    this.said.delete(channel);
    if (!this.options.write({ type: 'typing', channel, on }) || !on) return;
    this.said.set(channel, now);
    for (const [other, at] of this.said) {
      if (now - at < EXPIRE_MS) break;
      this.said.delete(other);
    }
  }

  /** One's own message ends it for those who get it: nothing more to say, and what follows it is news. */
  wrote(channel: string): void {
    this.said.delete(channel);
  }

  /** A session has begun, or ended: whom the last one told has to be told again. */
  forgetSaid(): void {
    this.said.clear();
  }

  heard({ channel, user, on }: TypedFrame): void {
    if (!on) {
      this.ended(channel, user);
      return;
    }
    const key = `${channel} ${user}`;
    const known = this.typing.delete(key);
    const event = { channel, user, on };
    this.typing.set(key, { event, until: this.options.now() + EXPIRE_MS });
    this.timer ??= setTimeout(() => this.expire(), EXPIRE_MS);
    if (!known) this.options.changed(event);
  }

  /** Also by a message of theirs. */
  ended(channel: string, user: string): void {
    if (this.typing.size === 0 || !this.typing.delete(`${channel} ${user}`)) return;
    if (this.typing.size === 0) this.stop();
    this.options.changed({ channel, user, on: false });
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private expire(): void {
    this.timer = undefined;
    const now = this.options.now();
    const due = [...this.typing.values()].filter(({ until }) => until <= now);
    for (const { event } of due) this.ended(event.channel, event.user);
    const [first] = this.typing.values();
    if (first !== undefined) this.timer ??= setTimeout(() => this.expire(), Math.max(1, first.until - now));
  }
}
