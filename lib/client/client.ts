/**
 * The client library, seen from outside. A frame's way in: connection → incoming (order and repetitions, listeners and
 * iterators, acks); a message's way out: storage → outbox → connection, until it is accepted. What is known of others
 * besides messages: people.
 *
 * What it promises: a message is shown once and in the order of its channel, whatever dies in between; what the promise
 * of `send` resolves with is stored; nothing is acked before the listeners have run.
 */

import { MillraceError } from '../protocol/errors.ts';
import type { ErrorFrame, HelloFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.ts';
import type { Conversations, ConversationsQuery, Receipts } from '../protocol/http.ts';
import { directChannel } from '../protocol/ids.ts';
import { MillraceApi } from './api.ts';
import { Backoff, sleep } from './backoff.ts';
import { type ConnectOptions, closedError, firstSession, noSessionError } from './connect.ts';
import { Connection, type ConnectionState } from './connection.ts';
import { type ClientEvents, describe, Events, type Listener, type Message } from './events.ts';
import { findSent } from './find.ts';
import { Incoming } from './incoming.ts';
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
import { People } from './people.ts';
import { Reads } from './reads.ts';
import type { Tick, Watermarks } from './receipts.ts';
import { TokenSource } from './token.ts';
import type { Presence } from './watches.ts';

/** Besides what is here it has every HTTP call of MillraceApi: history, conversations, groups. */
export class MillraceClient extends MillraceApi {
  private readonly options: Settled;
  private readonly events = new Events();
  private readonly tokens: TokenSource;
  private readonly connection: Connection;
  private readonly outbox: Outbox;
  private readonly people: People;
  private readonly incoming: Incoming;
  private readonly reads: Reads;
  private me: string | undefined;
  private contentBytes = Number.POSITIVE_INFINITY;
  private loading: Promise<void> | undefined;
  private session = new AbortController();
  /** The last `error` frame of the session: it says why a close came. */
  private lastError: ErrorFrame | undefined;
  private closing = false;

  constructor(options: MillraceClientOptions) {
    const settled = settle(options);
    const { random, now } = settled;
    const tokens = new TokenSource(settled.token, now);
    super({ url: settled.httpUrl, token: () => tokens.current(), user: settled.user, fetch: settled.fetch });
    this.options = settled;
    this.tokens = tokens;
    const { events } = this;
    const connection = new Connection({
      url: settled.wsUrl,
      webSocket: settled.webSocket,
      hello: () => this.hello(),
      backoff: new Backoff({ baseMs: settled.reconnectBaseMs, capMs: settled.reconnectCapMs, random }),
      now,
      connectTimeoutMs: settled.connectTimeoutMs,
      pongTimeoutMs: settled.pongTimeoutMs,
      welcome: (frame) => this.welcome(frame),
      live: (offset) => this.live(offset),
      goaway: (frame) => void events.emit('goaway', frame),
      frame: (frame) => this.receive(frame),
      heartbeat: () => {
        this.outbox.sweep();
        this.reads.forgetSettled();
        void this.incoming.acks.flush();
      },
      down: (end, retryInMs) => this.down(end, retryInMs),
      failed: events.fail,
    });
    this.connection = connection;
    this.outbox = new Outbox({
      storage: settled.storage,
      now,
      random,
      write: (frame) => connection.send(frame),
      find: (channel, item) => findSent((query) => this.history(channel, query), this.me ?? '', channel, item),
      failed: events.fail,
      limit: settled.outboxLimit,
    });
    this.reads = new Reads({ write: (frame) => connection.send(frame), now, random });
    const parts = { settled, events, connection, api: this };
    this.people = new People(parts);
    this.incoming = new Incoming({ ...parts, outbox: this.outbox, people: this.people });
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
    return this.incoming.acks.stored;
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
    const settled = firstSession(this.events, (why) => {
      if (options.retry !== false) return;
      this.connection.close();
      throw noSessionError(this.options.httpUrl, why);
    });
    this.connection.open();
    await settled;
  }

  /** Listeners may be asynchronous: what they are busy with is acked when they are done. Returns the way to stop. */
  on<K extends keyof ClientEvents>(name: K, listener: Listener<ClientEvents[K]>): () => void {
    return this.events.on(name, listener);
  }

  off<K extends keyof ClientEvents>(name: K, listener: Listener<ClientEvents[K]>): void {
    this.events.off(name, listener);
  }

  /**
   * `for await (const message of client.messages())`, from here on. At most `iteratorLimit` messages wait; beyond that
   * the server keeps them until the loop has caught up. A message is acked when the loop comes for the next one.
   */
  messages(filter: { channel?: string } = {}): AsyncIterableIterator<Message> {
    const inlet = this.incoming.inlets.add(filter.channel);
    if (this.closing) inlet.end();
    return inlet;
  }

  /** Resolves when the message is stored; sent again as often as that takes. Rejects when it is refused for good. */
  async send(message: Outgoing): Promise<Accepted> {
    const frame = sendFrame(message, this.contentBytes);
    this.people.typing.wrote(frame.channel ?? directChannel(this.me ?? '', frame.to!));
    return this.put(frame);
  }

  /** Gives one's own message another text. Resolves and rejects like `send`, in whose order it is. */
  async edit(edit: Edit): Promise<Accepted> {
    return this.put(editFrame(edit, this.contentBytes));
  }

  /** Deletes one's own message. Resolves and rejects like `send`, in whose order it is. */
  async delete(deletion: Deletion): Promise<Accepted> {
    return this.put(deleteFrame(deletion));
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

  /** Says that the user is typing, and when no more: to be called as often as keys are pressed, few of which say so. */
  typing(channel: string, on = true): void {
    this.people.typing.say(channel, on);
  }

  /**
   * Event `presence` tells of these users from now on, after a reconnect too. Throws `bad_request` when they would be more
   * than the server allows in all (`limits.watched`), and then watches none of them.
   */
  watch(users: readonly string[]): void {
    this.people.watches.watch(users);
  }

  unwatch(users: readonly string[]): void {
    this.people.watches.unwatch(users);
  }

  /** Of a watched user, what was heard last: without a connection it stays so until a new session has the answer. */
  presence(user: string): Presence | undefined {
    return this.people.watches.presence(user);
  }

  /** By user, how far each is in the channel as far as this client has heard, which `loadReceipts` makes complete. */
  receipts(channel: string): ReadonlyMap<string, Watermarks> {
    return this.people.receipts.of(channel);
  }

  /** What the others have of one's own message: in a group all those of whom `receipts` knows. */
  tick(channel: string, seq: number): Tick {
    return this.people.receipts.tick(channel, seq);
  }

  override async loadReceipts(channel: string): Promise<Receipts['receipts']> {
    const receipts = await super.loadReceipts(channel);
    this.people.receipts.loaded(channel, receipts);
    return receipts;
  }

  override async conversations(query: ConversationsQuery = {}): Promise<Conversations> {
    const page = await super.conversations(query);
    this.people.receipts.listed(page);
    return page;
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
    await this.incoming.acks.flush();
    this.end();
    this.events.emit('closed', { code: 1000, reason: 'closed by the application', byUser: true });
  }

  private end(): void {
    this.incoming.stop();
    this.reads.down();
    this.people.stop();
    this.session.abort();
    this.connection.close();
    this.outbox.close(new MillraceError('unavailable', 'the client was closed before the message was accepted'));
    this.incoming.inlets.end();
  }

  private async load(): Promise<void> {
    const saved = await this.options.storage.load();
    this.incoming.restore(saved);
    this.outbox.restore(saved.outbox);
  }

  private async hello(): Promise<HelloFrame> {
    const token = await this.tokens.fresh();
    const { device, user } = this.options;
    // What JSON leaves out when it is undefined.
    return { type: 'hello', token, device, since: this.offset, user } as HelloFrame;
  }

  private welcome(frame: WelcomeFrame): void {
    // One session may follow another without a break: what the old one has not answered goes out again in this one.
    this.session.abort();
    this.outbox.down();
    this.me = frame.user;
    this.contentBytes = frame.limits.content_bytes;
    this.lastError = undefined;
    this.incoming.welcome(frame);
    this.people.welcome(frame);
    this.session = new AbortController();
    const refresh = (token: string) => this.connection.send({ type: 'refresh', token });
    void this.tokens.keepFresh(refresh, this.events.fail, this.session.signal);
    this.events.emit('connected', frame);
  }

  private live(offset: string): void {
    this.incoming.live(offset);
    this.outbox.live(this.me!);
    this.reads.repeat();
    this.people.live();
    this.events.emit('live', { offset });
  }

  private down(end: { code: number; reason: string; cause?: unknown }, retryInMs: number | undefined): void {
    this.session.abort();
    this.outbox.down();
    this.reads.down();
    this.people.down();
    const { lastError } = this;
    this.lastError = undefined;
    const reason = lastError === undefined ? end.reason : `${lastError.code}: ${lastError.message}`;
    if (retryInMs !== undefined) {
      this.events.emit('disconnected', { ...end, reason, retryInMs });
      return;
    }
    // Nobody would send them: their promises must not hang. What the storage holds goes out at the next start.
    this.outbox.close(closedError(end.code, reason));
    this.loading = undefined;
    this.events.emit('closed', { code: end.code, reason, byUser: false });
    this.incoming.inlets.end(closedError(end.code, reason));
  }

  private receive(frame: ServerFrame): void {
    // Only an error right before the close is its reason.
    this.lastError = undefined;
    if (frame.type === 'error') this.refused(frame);
    else if (frame.type === 'accepted') {
      if (this.outbox.accepted(frame)) this.incoming.own(frame);
    } else if (frame.type === 'presence' || frame.type === 'typing') this.people.receive(frame);
    else this.incoming.receive(frame);
  }

  private refused(frame: ErrorFrame): void {
    if (this.outbox.refused(frame) || this.reads.refused(frame) || this.people.watches.refused(frame)) return;
    this.lastError = frame;
    // A hello that cannot be answered now: the close that follows says so, and it is tried again.
    if (frame.code === 'unavailable' && !this.connection.isUp) return;
    this.events.fail(new MillraceError(frame.code, describe(frame)));
  }
}
