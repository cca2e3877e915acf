/**
 * A frame's way in: order and repetitions (holes) → listeners and iterators → acks. While an iterator is full, what the
 * server sends is left alone, unacked, and asked for again in a new session when there is room.
 */
import type { AcceptedFrame, EventFrame, ReceiptFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.ts';
import { Acks, type Hold } from './acks.ts';
import type { MillraceApi } from './api.ts';
import type { Connection } from './connection.ts';
import { type ChannelEvent, type EventOf, type Events, isWritten, type Message } from './events.ts';
import { Holes } from './holes.ts';
import { Inlets } from './inlets.ts';
import type { Settled } from './options.ts';
import type { Outbox } from './outbox.ts';
import type { People } from './people.ts';
import type { Saved } from './storage.ts';

export interface IncomingOptions {
  settled: Settled;
  events: Events;
  connection: Connection;
  outbox: Outbox;
  people: People;
  api: MillraceApi;
}

export class Incoming {
  readonly acks: Acks;
  readonly inlets: Inlets;
  private readonly holes: Holes;
  private me: string | undefined;
  private overflowing = false;
  private readonly options: IncomingOptions;

  constructor(options: IncomingOptions) {
    this.options = options;
    const { settled, events, connection, outbox, api } = options;
    this.inlets = new Inlets(settled.iteratorLimit, () => this.roomAgain());
    this.acks = new Acks({
      storage: settled.storage,
      delayMs: settled.ackDelayMs,
      intervalMs: settled.ackIntervalMs,
      every: settled.ackEvery,
      now: settled.now,
      write: (offset) => connection.send({ type: 'ack', offset }),
      failed: events.fail,
    });
    this.holes = new Holes({
      acks: this.acks,
      history: (channel, after, limit) => api.history(channel, { after, limit }),
      show: (event, shown, hold) => this.show(event, shown, hold),
      sending: (channel) => outbox.sending(channel),
      room: () => this.inlets.room(),
      failed: events.fail,
      random: settled.random,
      unknownFill: settled.unknownFill,
    });
  }

  /** What an earlier process left. */
  restore({ offset, shown }: Saved): void {
    this.acks.restore(offset ?? this.options.settled.since);
    this.holes.restore(shown);
  }

  welcome({ user, offset }: WelcomeFrame): void {
    this.me = user;
    this.overflowing = false;
    this.acks.begin(offset);
  }

  live(offset: string): void {
    this.acks.sessionOffset = offset;
    if (!this.overflowing) this.acks.passed(offset);
  }

  receive(frame: ServerFrame): void {
    switch (frame.type) {
      case 'message':
      case 'edited':
      case 'deleted':
      case 'created':
      case 'renamed':
      case 'member':
        this.event(frame);
        break;
      case 'receipt':
        this.receipt(frame);
        break;
      case 'gap':
        this.options.people.gap();
        if (!this.overflowing) this.options.events.emit('gap', this.holes.gap(frame));
        break;
      default:
      // `refreshed` needs nothing done; types of a newer server are ignored, as the protocol says.
    }
  }

  /** The outbox has its answer. */
  own(accepted: Pick<AcceptedFrame, 'channel' | 'seq' | 'id'>): void {
    this.options.people.accepted(accepted);
    this.holes.own(accepted);
  }

  stop(): void {
    this.acks.stop();
    this.holes.stop();
  }

  private event(frame: EventFrame): void {
    this.acks.sessionOffset = frame.offset;
    if (this.overflowing) return;
    if (this.inlets.full) {
      this.overflowing = true;
      return;
    }
    // What one wrote may come back before its `accepted`: it says the same.
    if (isWritten(frame) && frame.from === this.me && this.settleOwn(frame)) this.own(frame);
    else this.holes.receive(frame);
    this.acks.done(frame.offset);
  }

  private receipt(frame: ReceiptFrame): void {
    this.acks.sessionOffset = frame.offset;
    if (!this.overflowing) this.acks.passed(frame.offset);
    this.options.people.receive(frame);
  }

  private settleOwn({ client_id, channel, seq, id, ts }: Message | EventOf<'edited' | 'deleted'>): boolean {
    const { outbox } = this.options;
    return outbox.size > 0 && outbox.accepted({ client_id, channel, seq, id, ts, duplicate: false });
  }

  private show(event: ChannelEvent, shown: number, hold: Hold | undefined): void {
    const { events, people } = this.options;
    people.showing(event);
    // Filled from history before its `accepted` came.
    if (isWritten(event) && event.from === this.me && this.settleOwn(event)) {
      this.acks.mark(event.channel, shown);
      return;
    }
    const busy = events.emit(event.type, event as never);
    const busyToo = events.emit('event', event);
    if (busy !== undefined || busyToo !== undefined) {
      const kept = this.acks.keep(hold);
      void Promise.all([busy, busyToo]).then(() => kept.release());
    }
    if (event.type === 'message') this.inlets.push(event, () => this.acks.keep(hold));
    this.acks.mark(event.channel, shown);
  }

  private roomAgain(): void {
    if (!this.overflowing) return;
    this.overflowing = false;
    // The only way back to an offset is a new session; what waits in the outbox goes on in it.
    this.options.connection.restart('caught up');
  }
}
