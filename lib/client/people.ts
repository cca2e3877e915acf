/** What is known of the others, and told them, besides messages: presence, typing, receipts. */
import type { AcceptedFrame, PresenceFrame, ReceiptFrame, TypedFrame, WelcomeFrame } from '../protocol/frames.ts';
import type { MillraceApi } from './api.ts';
import type { Connection } from './connection.ts';
import type { ChannelEvent, Events } from './events.ts';
import type { Settled } from './options.ts';
import { Receipts } from './receipts.ts';
import { Typing } from './typing.ts';
import { Watches } from './watches.ts';

export interface PeopleOptions {
  settled: Settled;
  events: Events;
  connection: Connection;
  api: MillraceApi;
}

export class People {
  readonly watches: Watches;
  readonly typing: Typing;
  readonly receipts: Receipts;
  private readonly connection: Connection;

  constructor({ settled, events, connection, api }: PeopleOptions) {
    this.connection = connection;
    this.watches = new Watches({
      write: (frame) => connection.send(frame),
      changed: (event) => events.emit('presence', event),
      failed: events.fail,
      random: settled.random,
    });
    this.typing = new Typing({
      write: (frame) => connection.state === 'live' && connection.send(frame),
      changed: (event) => events.emit('typing', event),
      now: settled.now,
    });
    this.receipts = new Receipts({
      load: (channel) => api.loadReceipts(channel),
      changed: (event) => events.emit('receipt', event),
      failed: events.fail,
      random: settled.random,
    });
  }

  welcome({ user, limits }: WelcomeFrame): void {
    this.typing.forgetSaid();
    this.receipts.begin(user);
    this.watches.begin(limits.watched);
  }

  live(): void {
    this.receipts.live();
  }

  down(): void {
    this.typing.forgetSaid();
    this.receipts.miss();
  }

  /** Receipts were trimmed with the rest. */
  gap(): void {
    this.receipts.miss();
    if (this.connection.state === 'live') this.receipts.live();
  }

  receive(frame: PresenceFrame | TypedFrame | ReceiptFrame): void {
    if (frame.type === 'presence') this.watches.heard(frame);
    else if (frame.type === 'typing') this.typing.heard(frame);
    else this.receipts.raise(frame.channel, frame.user, frame);
  }

  /** Before the application is shown it. */
  showing(event: ChannelEvent): void {
    // From history it may be older than what they type now.
    if (event.type === 'message' && event.offset !== undefined) this.typing.ended(event.channel, event.from);
    this.receipts.shown(event);
  }

  /** Something of one's own is stored. */
  accepted({ channel, seq }: Pick<AcceptedFrame, 'channel' | 'seq'>): void {
    this.receipts.own(channel, seq);
  }

  stop(): void {
    this.receipts.stop();
    this.typing.stop();
    this.watches.stop();
  }
}
