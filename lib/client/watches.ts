/**
 * Whose presence the application wants to know. A session's watches end with it, so all of them are said again in each
 * new one. What is known of somebody stays as it was while there is no connection, possibly stale, until the answers
 * after the reconnect replace it: a list of people does not turn grey because one's own train went into a tunnel.
 */
import { MillraceError } from '../protocol/errors.ts';
import type { ErrorFrame, PresenceFrame, UnwatchFrame, WatchFrame } from '../protocol/frames.ts';
import { isUserId } from '../protocol/ids.ts';
import { Backoff } from './backoff.ts';
import type { PresenceEvent } from './events.ts';

/** In one frame: at 64 characters a name 7 KB, of the 16 that a frame may have. */
const PER_FRAME = 100;

export type Presence = Omit<PresenceEvent, 'user'>;

export interface WatchesOptions {
  /** False when there is no session. */
  write: (frame: WatchFrame | UnwatchFrame) => boolean;
  changed: (event: PresenceEvent) => void;
  failed: (error: Error) => void;
  random: () => number;
}

export class Watches {
  private readonly known = new Map<string, Presence | undefined>();
  /** Frames of this session that have had no answer, by their ref. */
  private readonly asked = new Map<string, readonly string[]>();
  private readonly again = new Set<string>();
  private frames = 0;
  private limit = Number.POSITIVE_INFINITY;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly backoff: Backoff;
  private readonly options: WatchesOptions;

  constructor(options: WatchesOptions) {
    this.options = options;
    this.backoff = new Backoff({ baseMs: 500, capMs: 30_000, random: options.random });
  }

  /** Throws what the server would answer; then none of them is watched. */
  watch(users: readonly string[]): void {
    const added = [...new Set(users)].filter((user) => !this.known.has(user));
    if (!added.every(isUserId)) throw new MillraceError('bad_request', 'users: 1 to 64 of A-Z a-z 0-9 _ . -');
    if (this.known.size + added.length > this.limit) throw this.tooMany();
    for (const user of added) this.known.set(user, undefined);
    this.ask(added);
  }

  unwatch(users: readonly string[]): void {
    const removed = [...new Set(users)].filter((user) => this.known.delete(user));
    for (const some of framesOf(removed)) this.options.write({ type: 'unwatch', users: some });
  }

  presence(user: string): Presence | undefined {
    return this.known.get(user);
  }

  /** A session has begun: it watches nobody yet. */
  begin(limit: number): void {
    this.limit = limit;
    this.stop();
    this.asked.clear();
    this.again.clear();
    const users = [...this.known.keys()];
    if (users.length > limit) this.options.failed(this.tooMany());
    this.ask(users.slice(0, limit));
  }

  heard({ user, status, last_seen: lastSeen, ref }: PresenceFrame): void {
    if (ref !== undefined && this.asked.delete(ref)) this.backoff.reset();
    if (!this.known.has(user)) return;
    const before = this.known.get(user);
    if (before !== undefined && before.status === status && before.lastSeen === lastSeen) return;
    this.known.set(user, { status, lastSeen });
    this.options.changed({ user, status, lastSeen });
  }

  /** True when it answers a watch that is tried again. */
  refused({ code, ref, retry_after_ms }: ErrorFrame): boolean {
    const users = ref === undefined ? undefined : this.asked.get(ref);
    if (users === undefined) return false;
    this.asked.delete(ref!);
    if (code !== 'unavailable' && code !== 'internal' && code !== 'rate_limited') return false;
    for (const user of users) this.again.add(user);
    this.timer ??= setTimeout(() => this.askAgain(), (retry_after_ms ?? 0) + this.backoff.next());
    return true;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private askAgain(): void {
    this.timer = undefined;
    const users = [...this.again].filter((user) => this.known.has(user));
    this.again.clear();
    this.ask(users);
  }

  private ask(users: readonly string[]): void {
    for (const some of framesOf(users)) {
      const ref = `watch-${this.frames++}`;
      if (!this.options.write({ type: 'watch', users: some, ref })) return;
      this.asked.set(ref, some);
    }
  }

  private tooMany(): MillraceError {
    return new MillraceError('bad_request', `users: at most ${this.limit} are watched in a session`);
  }
}

function* framesOf(users: readonly string[]): Generator<string[]> {
  for (let i = 0; i < users.length; i += PER_FRAME) yield users.slice(i, i + PER_FRAME);
}
