/**
 * Reads are not answered, so the latest of each channel is repeated in a new session when the old one may have lost it:
 * not yet sent, or sent within the last minute. One that the server could not take for the moment is repeated, too.
 */
import type { ErrorFrame, ReadFrame } from '../protocol/frames.ts';
import { Backoff } from './backoff.ts';

const SETTLED_MS = 60_000;

interface Read {
  seq: number;
  sentAt: number | undefined;
  /** Of its latest frame. */
  ref: string;
}

export interface ReadsOptions {
  /** False when there is no session. */
  write: (frame: ReadFrame) => boolean;
  now: () => number;
  random: () => number;
}

export class Reads {
  private readonly latest = new Map<string, Read>();
  private readonly again = new Set<string>();
  private frames = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly backoff: Backoff;
  private readonly options: ReadsOptions;

  constructor(options: ReadsOptions) {
    this.options = options;
    this.backoff = new Backoff({ baseMs: 500, capMs: 10_000, random: options.random });
  }

  read(channel: string, seq: number): void {
    const known = this.latest.get(channel);
    if (known !== undefined && known.seq >= seq) return;
    this.send(channel, seq);
  }

  repeat(): void {
    this.down();
    this.backoff.reset();
    for (const [channel, { seq }] of this.latest) this.send(channel, seq);
  }

  /** True when it answers a read that is repeated, or was overtaken. */
  refused({ code, ref, retry_after_ms }: ErrorFrame): boolean {
    if (!ref?.startsWith('read-') || !(code === 'unavailable' || code === 'internal' || code === 'rate_limited')) {
      return false;
    }
    for (const [channel, read] of this.latest) if (read.ref === ref) this.again.add(channel);
    if (this.again.size > 0) {
      this.timer ??= setTimeout(() => this.sendAgain(), (retry_after_ms ?? 0) + this.backoff.next());
    }
    return true;
  }

  /** The session is over: the next one repeats everything. */
  down(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.again.clear();
  }

  /** Called while a session lives. */
  forgetSettled(): void {
    const before = this.options.now() - SETTLED_MS;
    for (const [channel, { sentAt }] of this.latest) {
      if (sentAt !== undefined && sentAt < before && !this.again.has(channel)) this.latest.delete(channel);
    }
  }

  private sendAgain(): void {
    this.timer = undefined;
    const channels = [...this.again];
    this.again.clear();
    for (const channel of channels) this.send(channel, this.latest.get(channel)!.seq);
  }

  private send(channel: string, seq: number): void {
    const ref = `read-${this.frames++}`;
    const { write, now } = this.options;
    this.latest.set(channel, { seq, ref, sentAt: write({ type: 'read', channel, seq, ref }) ? now() : undefined });
  }
}
