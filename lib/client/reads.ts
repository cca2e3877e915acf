/**
 * Reads are not answered, so the latest of each channel is repeated in a new session when the old one may have lost it:
 * not yet sent, or sent within the last minute.
 */
import type { ReadFrame } from '../protocol/frames.ts';

const SETTLED_MS = 60_000;

interface Read {
  seq: number;
  sentAt: number | undefined;
}

export class Reads {
  private readonly latest = new Map<string, Read>();
  private readonly write: (frame: ReadFrame) => boolean;
  private readonly now: () => number;

  constructor(write: (frame: ReadFrame) => boolean, now: () => number) {
    this.write = write;
    this.now = now;
  }

  read(channel: string, seq: number): void {
    const known = this.latest.get(channel);
    if (known !== undefined && known.seq >= seq) return;
    this.latest.set(channel, { seq, sentAt: this.send(channel, seq) });
  }

  repeat(): void {
    for (const [channel, read] of this.latest) read.sentAt = this.send(channel, read.seq);
  }

  /** Called while a session lives. */
  forgetSettled(): void {
    const before = this.now() - SETTLED_MS;
    for (const [channel, { sentAt }] of this.latest) {
      if (sentAt !== undefined && sentAt < before) this.latest.delete(channel);
    }
  }

  private send(channel: string, seq: number): number | undefined {
    return this.write({ type: 'read', channel, seq }) ? this.now() : undefined;
  }
}
