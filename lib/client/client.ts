/**
 * The client library. A frame's way: connection → order and repetitions (holes) → listeners and iterators → acks; a
 * message's way out: storage → outbox → connection, until it is accepted.
 *
 * What it promises: a message is shown once and in the order of its channel, whatever dies in between; what the promise
 * of `send` resolves with is stored; nothing is acked before the listeners have run.
 */

import { MillraceError } from '../protocol/errors.ts';
import type { ErrorFrame, EventFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.ts';
import { Acks, type Hold } from './acks.ts';
import { MillraceApi } from './api.ts';
import { Backoff, sleep } from './backoff.ts';
import { Connection, type ConnectionState } from './connection.ts';
import {
  type ChannelEvent,
  type ClientEvents,
  describe,
  Emitter,
  type EventOf,
  isWritten,
  type Listener,
  type Message,
} from './events.ts';
import { findSent } from './find.ts';
import { Holes } from './holes.ts';
import { Inlets } from './inlets.ts';
import { type MillraceClientOptions, type Settled, settle } from './options.ts';
import { type Accepted, Outbox } from './outbox.ts';
import {
  type Deletion,
  deleteFrame,
  type Edit,
  editFrame,
  type OutboxFrame,
  type Outgoing,
  sendFrame,
} from './outgoing.ts';
import { Reads } from './reads.ts';
import { TokenSource } from './token.ts';

export interface ConnectOptions {
  /** False: reject when the first attempt fails, instead of trying on. */
  retry?: boolean;
}

/** Besides what is here it has every HTTP call of MillraceApi: history, conversations, groups. */
export class MillraceClient extends MillraceApi {
  private readonly options: Settled;
  private readonly emitter: Emitter<ClientEvents>;
  private readonly tokens: TokenSource;
  private readonly connection: Connection;
  private readonly acks: Acks;
  private readonly outbox: Outbox;
  private readonly holes: Holes;
  private readonly reads: Reads;
  private readonly inlets: Inlets;
  private me: string | undefined;
  private limits: WelcomeFrame['limits'] | undefined;
  private loading: Promise<void> | undefined;
  private session = new AbortController();
  /** The last `error` frame of the session: it says why a close came. */
  private lastError: ErrorFrame | undefined;
  /** An iterator is full: what the server sends is left alone, and asked for again when there is room. */
  private overflowing = false;
  private closing = false;

  constructor(options: MillraceClientOptions) {
    const settled = settle(options);
    const { storage, random, now } = settled;
    const tokens = new TokenSource(settled.token, now);
    super({ url: settled.httpUrl, token: () => tokens.current(), user: settled.user, fetch: settled.fetch });
    this.options = settled;
    this.tokens = tokens;
    const failed = (error: unknown) => this.fail(error);
    this.emitter = new Emitter(failed);
    this.inlets = new Inlets(settled.iteratorLimit, () => this.roomAgain());
    this.connection = new Connection({
      url: settled.wsUrl,
      webSocket: settled.webSocket,
      hello: () => this.hello(),
      backoff: new Backoff({ baseMs: settled.reconnectBaseMs, capMs: settled.reconnectCapMs, random }),
      now,
      connectTimeoutMs: settled.connectTimeoutMs,
      pongTimeoutMs: settled.pongTimeoutMs,
      welcome: (frame) => this.welcome(frame),
      live: (offset) => this.live(offset),
      goaway: (frame) => void this.emitter.emit('goaway', frame),
      frame: (frame) => this.receive(frame),
      heartbeat: () => {
        this.outbox.sweep();
        this.reads.forgetSettled();
      },
      down: (end, retryInMs) => this.down(end, retryInMs),
      failed,
    });
    this.acks = new Acks({
      storage,
      delayMs: settled.ackDelayMs,
      every: settled.ackEvery,
      write: (offset) => this.connection.send({ type: 'ack', offset }),
      failed,
    });
    this.outbox = new Outbox({
      storage,
      now,
      random,
      write: (frame) => this.connection.send(frame),
      find: (channel, item) => findSent((query) => this.history(channel, query), this.me ?? '', channel, item),
      failed,
      limit: settled.outboxLimit,
    });
    this.holes = new Holes({
      acks: this.acks,
      history: (channel, after, limit) => this.history(channel, { after, limit }),
      show: (event, shown, hold) => this.show(event, shown, hold),
      sending: (channel) => this.outbox.sending(channel),
      room: () => this.inlets.room(),
      failed,
      random,
      unknownFill: settled.unknownFill,
    });
    this.reads = new Reads((frame) => this.connection.send(frame), now);
  }

  /** The user whose messages these are: known once connected. */
  get user(): string | undefined {
    return this.me;
  }

  get state(): ConnectionState {
    return this.connection.state;
  }

  /** The offset up to which everything was handled and saved. */
  get offset(): string | undefined {
    return this.acks.stored;
  }

  /** Messages not yet accepted. */
  get pending(): number {
    return this.outbox.size;
  }

  /**
   * Resolves when the first session is up (what was missed follows as events, then `live`). Listeners belong before it.
   * Rejects when the server refuses for good; otherwise it is tried until it works, or until close().
   */
  async connect(options: ConnectOptions = {}): Promise<void> {
    if (this.closing) throw new MillraceError('unavailable', 'the client was closed');
    this.loading ??= this.load();
    await this.loading;
    if (this.connection.isUp) return;
    const settled = new Promise<void>((resolve, reject) => {
      const offs = [
        this.on('connected', () => end(resolve)),
        this.on('closed', (why) => end(() => reject(closedError(why.code, why.reason)))),
        this.on('disconnected', (why) => {
          if (options.retry === false) end(() => this.giveUp(why.reason, why.cause, reject));
        }),
      ];
      const end = (settle: () => void) => {
        for (const off of offs) off();
        settle();
      };
    });
    this.connection.open();
    await settled;
  }

  /** Listeners may be asynchronous: what they are busy with is acked when they are done. Returns the way to stop. */
  on<K extends keyof ClientEvents>(name: K, listener: Listener<ClientEvents[K]>): () => void {
    return this.emitter.on(name, listener);
  }

  off<K extends keyof ClientEvents>(name: K, listener: Listener<ClientEvents[K]>): void {
    this.emitter.off(name, listener);
  }

  /**
   * `for await (const message of client.messages())`, from here on. At most `iteratorLimit` messages wait; beyond that
   * the server keeps them until the loop has caught up. A message is acked when the loop comes for the next one.
   */
  messages(filter: { channel?: string } = {}): AsyncIterableIterator<Message> {
    const inlet = this.inlets.add(filter.channel);
    if (this.closing) inlet.end();
    return inlet;
  }

  /** Resolves when the message is stored; sent again as often as that takes. Rejects when it is refused for good. */
  async send(message: Outgoing): Promise<Accepted> {
    return this.put(sendFrame(message, this.contentBytes));
  }

  /** Gives one's own message another text. Resolves and rejects like `send`, in whose order it is. */
  async edit(edit: Edit): Promise<Accepted> {
    return this.put(editFrame(edit, this.contentBytes));
  }

  /** Deletes one's own message. Resolves and rejects like `send`, in whose order it is. */
  async delete(deletion: Deletion): Promise<Accepted> {
    return this.put(deleteFrame(deletion));
  }

  private get contentBytes(): number {
    return this.limits?.content_bytes ?? Number.POSITIVE_INFINITY;
  }

  private async put(frame: OutboxFrame): Promise<Accepted> {
    if (this.closing) throw new MillraceError('unavailable', 'the client was closed');
    this.loading ??= this.load();
    // Not awaited once it is done: sends of one tick keep their order.
    if (this.me === undefined) await this.loading;
    return this.outbox.send(frame);
  }

  /** The user has read the channel up to here. Repeated by itself when the connection is lost over it. */
  read(channel: string, seq: number): void {
    this.reads.read(channel, seq);
  }

  /**
   * Waits until what was sent is accepted, acks what was handled, and ends. After `timeoutMs` it ends anyway: the
   * promises of what is left reject, and the storage keeps it for the next start.
   */
  async close(options: { timeoutMs?: number } = {}): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    if (this.connection.state !== 'closed') {
      const stop = new AbortController();
      await Promise.race([this.outbox.empty(), sleep(options.timeoutMs ?? 5_000, stop.signal)]);
      stop.abort();
    }
    await this.acks.flush();
    this.end();
    this.emitter.emit('closed', { code: 1000, reason: 'closed by the application', byUser: true });
  }

  private end(): void {
    this.acks.stop();
    this.session.abort();
    this.holes.stop();
    this.connection.close();
    this.outbox.close(new MillraceError('unavailable', 'the client was closed before the message was accepted'));
    this.inlets.end();
  }

  private giveUp(reason: string, cause: unknown, reject: (error: Error) => void): void {
    this.connection.close();
    const said = reason === '' ? 'it does not answer' : reason;
    reject(new MillraceError('unavailable', `no session with ${this.options.httpUrl}: ${said}`, { cause }));
  }

  private async load(): Promise<void> {
    const saved = await this.options.storage.load();
    this.acks.restore(saved.offset ?? this.options.since);
    this.holes.restore(saved.shown);
    this.outbox.restore(saved.outbox);
  }

  private async hello() {
    const token = await this.tokens.fresh();
    const { device, user } = this.options;
    const since = this.acks.stored;
    return {
      type: 'hello' as const,
      token,
      device,
      ...(since === undefined ? {} : { since }),
      ...(user === undefined ? {} : { user }),
    };
  }

  private welcome(frame: WelcomeFrame): void {
    // One session may follow another without a break: what the old one has not answered goes out again in this one.
    this.session.abort();
    this.outbox.down();
    this.me = frame.user;
    this.limits = frame.limits;
    this.lastError = undefined;
    this.overflowing = false;
    this.acks.begin(frame.offset);
    this.session = new AbortController();
    const refresh = (token: string) => this.connection.send({ type: 'refresh', token });
    void this.tokens.keepFresh(refresh, (error) => this.fail(error), this.session.signal);
    this.emitter.emit('connected', frame);
  }

  private live(offset: string): void {
    this.acks.sessionOffset = offset;
    if (!this.overflowing) this.acks.done(offset);
    this.outbox.live(this.me!);
    this.reads.repeat();
    this.emitter.emit('live', { offset });
  }

  private down(end: { code: number; reason: string; cause?: unknown }, retryInMs: number | undefined): void {
    this.session.abort();
    this.outbox.down();
    const { lastError } = this;
    this.lastError = undefined;
    const reason = lastError === undefined ? end.reason : `${lastError.code}: ${lastError.message}`;
    if (retryInMs !== undefined) {
      this.emitter.emit('disconnected', { ...end, reason, retryInMs });
      return;
    }
    // Nobody would send them: their promises must not hang. What the storage holds goes out at the next start.
    this.outbox.close(closedError(end.code, reason));
    this.loading = undefined;
    this.emitter.emit('closed', { code: end.code, reason, byUser: false });
    this.inlets.end(closedError(end.code, reason));
  }

  private receive(frame: ServerFrame): void {
    // Only an error right before the close is its reason.
    this.lastError = undefined;
    switch (frame.type) {
      case 'message':
      case 'edited':
      case 'deleted':
      case 'created':
      case 'renamed':
      case 'member':
        this.event(frame);
        break;
      case 'accepted':
        if (this.outbox.accepted(frame)) this.holes.own(frame);
        break;
      case 'error':
        this.refused(frame);
        break;
      case 'gap':
        if (!this.overflowing) this.emitter.emit('gap', this.holes.gap(frame));
        break;
      case 'receipt':
        this.acks.sessionOffset = frame.offset;
        if (this.overflowing) break;
        this.emitter.emit('receipt', frame);
        this.acks.done(frame.offset);
        break;
      case 'presence':
        this.emitter.emit('presence', frame);
        break;
      case 'typing':
        this.emitter.emit('typing', frame);
        break;
      default:
      // `refreshed` needs nothing done; types of a newer server are ignored, as the protocol says.
    }
  }

  private event(frame: EventFrame): void {
    this.acks.sessionOffset = frame.offset;
    if (this.overflowing) return;
    if (this.inlets.full) {
      this.overflowing = true;
      return;
    }
    // What one wrote may come back before its `accepted`: it says the same.
    if (isWritten(frame) && frame.from === this.me && this.settleOwn(frame)) this.holes.own(frame);
    else this.holes.receive(frame);
    this.acks.done(frame.offset);
  }

  private settleOwn({ client_id, channel, seq, id, ts }: Message | EventOf<'edited' | 'deleted'>): boolean {
    return this.outbox.size > 0 && this.outbox.accepted({ client_id, channel, seq, id, ts, duplicate: false });
  }

  private show(event: ChannelEvent, shown: number, hold: Hold | undefined): void {
    // Filled from history before its `accepted` came.
    if (isWritten(event) && event.from === this.me && this.settleOwn(event)) {
      this.acks.mark(event.channel, shown);
      return;
    }
    const busy = this.emitter.emit(event.type, event as never);
    const busyToo = this.emitter.emit('event', event);
    if (busy !== undefined || busyToo !== undefined) {
      const kept = hold?.retain() ?? this.acks.hold();
      void Promise.all([busy, busyToo]).then(() => kept.release());
    }
    if (event.type === 'message') this.inlets.push(event, () => hold?.retain() ?? this.acks.hold());
    this.acks.mark(event.channel, shown);
  }

  private refused(frame: ErrorFrame): void {
    if (this.outbox.refused(frame)) return;
    this.lastError = frame;
    this.fail(new MillraceError(frame.code, describe(frame)));
  }

  private roomAgain(): void {
    if (!this.overflowing) return;
    this.overflowing = false;
    // The only way back to an offset is a new session; what waits in the outbox goes on in it.
    this.connection.restart('caught up');
  }

  /** For what no promise tells. Without a listener it goes to the console, which both worlds have: never silence. */
  private fail(error: unknown): void {
    const told = error instanceof Error ? error : new Error(String(error));
    if (this.emitter.has('error')) this.emitter.emit('error', told);
    else console.error('millrace:', told);
  }
}

function closedError(code: number, reason: string): MillraceError {
  const known = code === 4001 ? 'unauthenticated' : code === 4003 ? 'conflict' : 'unavailable';
  return new MillraceError(known, `the session was closed for good (${code}${reason === '' ? '' : `: ${reason}`})`);
}
