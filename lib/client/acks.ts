/**
 * How far this device has come, and telling storage and the server so.
 *
 * Offsets come in order, but what they carry is not always handled in order: a frame may wait for a hole to be filled,
 * for an asynchronous listener, or in an iterator's queue. Whoever keeps something back takes a `Hold` first; offsets
 * that come after it are kept with the latest hold and count only once it and all before it are released. Without holds,
 * the usual case, a message costs two assignments here.
 *
 * What was shown waits only for what the application is still busy with (`keep`), never for a hole: after a restart what
 * comes again after the offset is told by it from what is new, in the channels that went on beside the hole too.
 */
import { compareOffsets } from './offsets.ts';
import type { ClientStorage } from './storage.ts';

/**
 * An ack is a frame of its own, which costs a gateway as much as a message does, and it is what the sender sees as
 * "delivered". So the first after a quiet time goes out at once, all but for what comes right behind; then one a second
 * covers what came meanwhile. When messages come faster, one covers 50 of them.
 */
export const ACK_DELAY_MS = 100;
export const ACK_INTERVAL_MS = 1000;
export const ACK_EVERY = 50;

export class Hold {
  offset: string | undefined;
  count = 1;
  private readonly released: () => void;

  constructor(released: () => void) {
    this.released = released;
  }

  /** One more release is needed. */
  retain(): Hold {
    this.count += 1;
    return this;
  }

  release(): void {
    this.count -= 1;
    if (this.count === 0) this.released();
  }
}

/** What is to be released once. */
export type Kept = Pick<Hold, 'release'>;

/** The application is busy with an event; what is shown after that one is remembered here. */
interface Busy {
  shown: Map<string, number> | undefined;
  done: boolean;
}

export interface AcksOptions {
  storage: ClientStorage;
  /** After the first event that is not acked … */
  delayMs: number;
  /** … and after the ack before. */
  intervalMs: number;
  every: number;
  now: () => number;
  /** Sends the ack; false when there is no session. */
  write: (offset: string) => boolean;
  failed: (error: unknown) => void;
}

export class Acks {
  /** What has been saved: where a new session resumes. */
  stored: string | undefined;
  /** The last offset sent by the server in this session: an ack beyond it would be refused. */
  sessionOffset: string | undefined;
  private handled: string | undefined;
  private acked: string | undefined;
  private shown = new Map<string, number>();
  private readonly holds: Hold[] = [];
  private readonly busy: Busy[] = [];
  private count = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ackedAt = Number.NEGATIVE_INFINITY;
  private flushing: Promise<void> | undefined;
  private readonly options: AcksOptions;

  constructor(options: AcksOptions) {
    this.options = options;
  }

  restore(offset: string | undefined): void {
    this.stored = offset;
    this.handled = offset;
  }

  /** A session begins, or resumes, at this offset. */
  begin(offset: string): void {
    this.sessionOffset = offset;
    this.acked = offset;
    if (this.stored === undefined) this.restore(offset);
  }

  hold(): Hold {
    const hold = new Hold(() => this.advance());
    this.holds.push(hold);
    return hold;
  }

  /**
   * The application is busy with an event until the release; `hold` is that of the open hole from which it was shown. To be
   * taken before the event is marked.
   */
  keep(hold?: Hold): Kept {
    const kept = hold?.retain() ?? this.hold();
    const busy: Busy = { shown: undefined, done: false };
    this.busy.push(busy);
    return {
      release: () => {
        busy.done = true;
        while (this.busy[0]?.done)
          for (const [channel, seq] of this.busy.shift()!.shown ?? []) this.shown.set(channel, seq);
        kept.release();
      },
    };
  }

  /** The seq was handed to the application, or is one's own. */
  mark(channel: string, seq: number): void {
    const last = this.busy[this.busy.length - 1];
    if (last === undefined) this.shown.set(channel, seq);
    else {
      last.shown ??= new Map();
      last.shown.set(channel, seq);
    }
  }

  /** The frame with this offset has been dealt with, but for holds taken before. */
  done(offset: string): void {
    this.passed(offset);
    this.schedule();
  }

  /**
   * As `done`, but no reason for an ack: it is covered by the next one, at the latest that of the heartbeat. Receipts are
   * such: an ack makes receipts, and no receipt may ever cause one.
   */
  passed(offset: string): void {
    const last = this.holds[this.holds.length - 1];
    if (last === undefined) this.handled = offset;
    else last.offset = offset;
  }

  private advance(): void {
    while (this.holds.length > 0 && this.holds[0]!.count === 0) {
      const { offset } = this.holds.shift()!;
      // Frames that are sent again after a reconnect carry older offsets than those already handled.
      if (offset !== undefined && (this.handled === undefined || compareOffsets(offset, this.handled) > 0)) {
        this.handled = offset;
      }
    }
    this.schedule();
  }

  private schedule(): void {
    this.count += 1;
    if (this.count >= this.options.every) void this.flush();
    else this.timer ??= setTimeout(() => void this.flush(), this.waitMs());
  }

  private waitMs(): number {
    const { delayMs, intervalMs, now } = this.options;
    // A clock that was set back must not hold the ack back with it.
    return Math.max(delayMs, Math.min(intervalMs, this.ackedAt + intervalMs - now()));
  }

  /** Saves what has been handled, then acks it: never the other way round. */
  flush(): Promise<void> {
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.timer = undefined;
    this.count = 0;
    const next = this.flushing === undefined ? this.save() : this.flushing.then(() => this.save());
    const tracked = next.finally(() => {
      if (this.flushing === tracked) this.flushing = undefined;
    });
    this.flushing = tracked;
    return tracked;
  }

  private async save(): Promise<void> {
    const offset = this.handled;
    if (offset !== this.stored || this.shown.size > 0) {
      const shown = this.shown;
      this.shown = new Map();
      try {
        const saved = this.options.storage.saveProgress({ offset, shown: Object.fromEntries(shown) });
        if (saved !== undefined) await saved;
        this.stored = offset;
      } catch (error) {
        // Tried again with the next message: until then the server keeps it for this device.
        for (const [channel, seq] of shown) if (!this.shown.has(channel)) this.shown.set(channel, seq);
        this.options.failed(error);
        return;
      }
    }
    const { stored, sessionOffset } = this;
    if (stored === undefined || sessionOffset === undefined || stored === this.acked) return;
    if (compareOffsets(stored, sessionOffset) > 0) return;
    if (this.acked !== undefined && compareOffsets(stored, this.acked) <= 0) return;
    if (!this.options.write(stored)) return;
    this.acked = stored;
    this.ackedAt = this.options.now();
  }

  stop(): void {
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.timer = undefined;
  }
}
