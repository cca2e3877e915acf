/**
 * All channels of a client: order, repetitions, and holes filled from history. A channel with a hole shows nothing that
 * comes after it until history has given it or says that it is void; other channels go on. While a hole is open a hold
 * keeps the acks from passing it, so that nothing is lost when this process ends in the middle.
 */
import { MillraceError } from '../protocol/errors.ts';
import type { AcceptedFrame, EventFrame, GapFrame } from '../protocol/frames.ts';
import type { History } from '../protocol/http.ts';
import type { Acks, Hold } from './acks.ts';
import { Backoff, sleep } from './backoff.ts';
import { ChannelState } from './channel.ts';
import type { ChannelEvent, GapEvent } from './events.ts';

const PAGE = 200;
/** An own send's `accepted` may come after the messages behind it: it gets this long before history is asked. */
const OWN_PATIENCE_MS = 250;
/** The other way round: an own send accepted ahead of others' messages waits this long for them. */
const EARLY_PATIENCE_MS = 3_000;
/** Channels filled at once: a gap may name hundreds. */
const AT_ONCE = 4;

export interface HolesOptions {
  acks: Acks;
  history: (channel: string, after: number, limit: number) => Promise<History>;
  /**
   * Hands an event to the application; its channel is now shown up to `shown`. `hold` is the open hole's, which covers
   * this event too.
   */
  show: (event: ChannelEvent, shown: number, hold: Hold | undefined) => void;
  /** Whether own sends of this channel are under way. */
  sending: (channel: string) => boolean;
  /** Resolves when the application has room for more. */
  room: () => Promise<void>;
  failed: (error: Error) => void;
  random: () => number;
  /** How much of a channel is filled after a gap when nothing is known of it, in seqs. */
  unknownFill: number;
}

interface Tracked {
  state: ChannelState;
  fill: Hold | undefined;
  earlyTimer: ReturnType<typeof setTimeout> | undefined;
}

export class Holes {
  private readonly channels = new Map<string, Tracked>();
  private readonly before = new Map<string, number>();
  private readonly stopped = new AbortController();
  private readonly queue: (() => void)[] = [];
  private running = 0;
  private readonly options: HolesOptions;

  constructor(options: HolesOptions) {
    this.options = options;
  }

  /** What an earlier process has shown. */
  restore(shown: Record<string, number>): void {
    for (const channel in shown) this.before.set(channel, shown[channel]!);
  }

  receive(frame: EventFrame): void {
    const tracked = this.track(frame.channel);
    tracked.state.offer(frame);
    if (tracked.fill !== undefined || tracked.state.hole) this.check(frame.channel, tracked);
  }

  own(accepted: Pick<AcceptedFrame, 'channel' | 'seq' | 'id'>): void {
    const { channel } = accepted;
    const tracked = this.track(channel);
    const before = tracked.state.shown;
    tracked.state.own(accepted.seq, accepted.id);
    if (tracked.state.shown !== before) this.options.acks.mark(channel, tracked.state.shown);
    this.check(channel, tracked);
    if (tracked.state.early && tracked.earlyTimer === undefined) {
      tracked.earlyTimer = setTimeout(() => {
        tracked.earlyTimer = undefined;
        if (!tracked.state.early) return;
        tracked.state.expectEarly();
        this.check(channel, tracked);
      }, EARLY_PATIENCE_MS);
    }
  }

  /** Starts filling what was trimmed, and says what that is. */
  gap(frame: GapFrame): GapEvent {
    const channels: GapEvent['channels'] = [];
    for (const { channel, last_seq: to } of frame.channels) {
      const tracked = this.track(channel);
      const { state } = tracked;
      const unknown = !state.known;
      if (unknown) state.startAt(Math.max(0, to - this.options.unknownFill));
      if (to <= state.shown) continue;
      channels.push({ channel, from: state.shown, to, unknown });
      state.target = Math.max(state.target, to);
      this.check(channel, tracked);
    }
    return { since: frame.since, oldest: frame.oldest, channels };
  }

  stop(): void {
    this.stopped.abort();
    for (const tracked of this.channels.values()) clearTimeout(tracked.earlyTimer);
    for (const next of this.queue.splice(0)) next();
  }

  private track(channel: string): Tracked {
    const known = this.channels.get(channel);
    if (known !== undefined) return known;
    const show = (event: ChannelEvent, shown: number) => this.options.show(event, shown, tracked.fill);
    const state = new ChannelState(this.before.get(channel), show);
    const tracked: Tracked = { state, fill: undefined, earlyTimer: undefined };
    this.before.delete(channel);
    this.channels.set(channel, tracked);
    return tracked;
  }

  private check(channel: string, tracked: Tracked): void {
    if (tracked.state.hole) {
      if (tracked.fill !== undefined || this.stopped.signal.aborted) return;
      tracked.fill = this.options.acks.hold();
      void this.fill(channel, tracked, tracked.fill);
    } else if (tracked.fill !== undefined) {
      const { fill } = tracked;
      tracked.fill = undefined;
      this.options.acks.mark(channel, tracked.state.shown);
      fill.release();
    }
  }

  private async fill(channel: string, tracked: Tracked, hold: Hold): Promise<void> {
    const { state } = tracked;
    const { signal } = this.stopped;
    const backoff = new Backoff({ baseMs: 100, capMs: 5_000, random: this.options.random });
    if (this.options.sending(channel)) await sleep(OWN_PATIENCE_MS, signal);
    await this.enter();
    try {
      while (tracked.fill === hold && !signal.aborted) {
        await this.options.room();
        const before = state.shown;
        let waitMs = 0;
        try {
          const page = await this.options.history(channel, before, PAGE);
          if (tracked.fill !== hold || signal.aborted) return;
          state.page(page, page.messages.length >= PAGE);
        } catch (error) {
          if (tracked.fill !== hold || signal.aborted) return;
          waitMs = error instanceof MillraceError ? (error.retryAfterMs ?? 0) : 0;
          if (isPermanent(error)) {
            // Removed from the channel meanwhile, most likely: there is no history to have.
            state.giveUp();
            this.options.failed(new Error(`history of ${channel} after ${before} cannot be read`, { cause: error }));
          }
        }
        this.check(channel, tracked);
        if (tracked.fill !== hold) return;
        if (state.shown > before) backoff.reset();
        else await sleep(waitMs + backoff.next(), signal);
      }
    } finally {
      this.leave();
    }
  }

  private async enter(): Promise<void> {
    if (this.running >= AT_ONCE) await new Promise<void>((resolve) => this.queue.push(resolve));
    this.running += 1;
  }

  private leave(): void {
    this.running -= 1;
    this.queue.shift()?.();
  }
}

function isPermanent(error: unknown): boolean {
  return (
    error instanceof MillraceError &&
    (error.code === 'not_found' || error.code === 'forbidden' || error.code === 'bad_request')
  );
}
