/**
 * One session at a time over a WebSocket, and another whenever it ends: hello, heartbeat, the watch over a connection
 * that died silently, and when to try again. What the frames mean is the client's business.
 *
 * A server that is going away is left without a break: the next session is opened beside the present one, which goes on
 * until the next one's welcome.
 */
import { CLOSE_CODES, isFinalClose } from '../protocol/errors.ts';
import type { ClientFrame, GoawayFrame, HelloFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.ts';
import type { Backoff } from './backoff.ts';
import { Link, NO_CODE } from './link.ts';

export type ConnectionState = 'closed' | 'connecting' | 'replaying' | 'live' | 'waiting';

export interface ConnectionOptions {
  /** `ws://host:port/v1/ws` */
  url: string;
  webSocket: new (url: string) => WebSocket;
  hello: () => Promise<HelloFrame>;
  backoff: Backoff;
  now: () => number;
  /** From the first byte of an attempt to `welcome`. */
  connectTimeoutMs: number;
  /** How long a ping may go without any frame from the server. */
  pongTimeoutMs: number;
  welcome: (frame: WelcomeFrame) => void;
  live: (offset: string) => void;
  goaway: (frame: GoawayFrame) => void;
  frame: (frame: ServerFrame) => void;
  heartbeat: () => void;
  /** The connection is gone, or an attempt failed; another follows after `retryInMs`, unless undefined. */
  down: (end: { code: number; reason: string; cause?: unknown }, retryInMs: number | undefined) => void;
  failed: (error: unknown) => void;
}

/** A session that lived this long starts the backoff anew; a server that throws one out at once is not hammered. */
const STABLE_MS = 5_000;
/** Refusals that say "too much" wait longer from the first time on. */
const TOO_MUCH_ATTEMPTS = 4;

export class Connection {
  state: ConnectionState = 'closed';
  /** The one with the session. */
  private link: Link | undefined;
  /** The one that has not been welcomed yet. */
  private next: Link | undefined;
  /** An earlier attempt that still waits for its token sees that it is no longer meant. */
  private epoch = 0;
  private received = 0;
  private welcomedAt = 0;
  private heartbeatMs = 0;
  /** When to come again, after a goaway. */
  private returnAt: number | undefined;
  private readonly online = () => this.backOnline();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private readonly options: ConnectionOptions;

  constructor(options: ConnectionOptions) {
    this.options = options;
  }

  get isUp(): boolean {
    return this.state === 'live' || this.state === 'replaying';
  }

  open(): void {
    // Browsers tell; elsewhere nobody does, and the heartbeat finds out.
    globalThis.addEventListener?.('online', this.online);
    if (this.state === 'closed' || this.state === 'waiting') this.attempt();
  }

  /** False when there is no session to write to. */
  send(frame: ClientFrame): boolean {
    if (!this.isUp || !this.link?.open) return false;
    this.link.send(JSON.stringify(frame));
    return true;
  }

  /** A new session at once, for a reason of one's own. */
  restart(reason: string): void {
    if (this.state === 'closed') return;
    this.down({ code: CLOSE_CODES.bye.code, reason }, 0);
    if (this.state === 'waiting') this.attempt();
  }

  close(): void {
    globalThis.removeEventListener?.('online', this.online);
    this.drop('');
    this.state = 'closed';
  }

  private attempt(): void {
    this.clearTimers();
    this.state = 'connecting';
    this.returnAt = undefined;
    void this.dial();
  }

  /** Opens a socket; a session that there is goes on until this one is welcomed. */
  private async dial(): Promise<void> {
    const epoch = ++this.epoch;
    let hello: string;
    try {
      hello = JSON.stringify(await this.options.hello());
    } catch (cause) {
      if (epoch === this.epoch) this.refused(NO_CODE, 'no token', cause);
      return;
    }
    if (epoch !== this.epoch) return;
    this.next?.drop('');
    this.next = new Link({
      url: this.options.url,
      webSocket: this.options.webSocket,
      hello,
      timeoutMs: this.options.connectTimeoutMs,
      receive: (link, data) => this.receive(link, data),
      ended: (link, code, reason, cause) => this.ended(link, code, reason, cause),
    });
  }

  private receive(link: Link, data: unknown): void {
    this.received += 1;
    let frame: ServerFrame;
    try {
      frame = JSON.parse(data as string) as ServerFrame;
    } catch (error) {
      this.options.failed(new Error('the server sent a frame that is not JSON', { cause: error }));
      return;
    }
    switch (frame.type) {
      case 'welcome':
        this.take(link, frame);
        break;
      case 'live':
        this.state = 'live';
        this.options.live(frame.offset);
        break;
      case 'goaway':
        if (link === this.link) this.leave(frame);
        else this.returnAt = this.options.now() + frame.reconnect_in_ms;
        break;
      case 'pong':
        break;
      default:
        this.options.frame(frame);
    }
  }

  /** From one session to the next. */
  private take(link: Link, frame: WelcomeFrame): void {
    this.clearTimers();
    this.link?.drop('moved');
    this.link = link;
    this.next = undefined;
    this.returnAt = undefined;
    link.settled();
    this.state = 'replaying';
    this.welcomedAt = this.options.now();
    this.heartbeatMs = frame.heartbeat_ms;
    this.beat();
    this.options.welcome(frame);
  }

  /** The network is back: a wait ends now, and a socket that may have died meanwhile has to show that it lives. */
  private backOnline(): void {
    if (this.state === 'waiting' && this.returnAt === undefined) this.attempt();
    else if (this.isUp) this.probe();
  }

  /** Any frame of the server after a ping proves that the connection lives. */
  private beat(): void {
    this.after(this.heartbeatMs, () => {
      this.probe();
      this.options.heartbeat();
      this.beat();
    });
  }

  private probe(): void {
    const before = this.received;
    const { pongTimeoutMs } = this.options;
    this.send({ type: 'ping' });
    this.after(pongTimeoutMs, () => {
      if (this.received === before) this.lost(NO_CODE, `no answer to a ping within ${pongTimeoutMs} ms`);
    });
  }

  private leave(frame: GoawayFrame): void {
    if (this.returnAt !== undefined) return;
    this.returnAt = this.options.now() + frame.reconnect_in_ms;
    this.after(frame.reconnect_in_ms, () => void this.dial());
    this.options.goaway(frame);
  }

  private ended(link: Link, code: number, reason: string, cause?: unknown): void {
    if (link === this.link) this.lost(code, reason, cause);
    else if (link === this.next) this.refused(code, reason, cause);
  }

  /** The session is gone. */
  private lost(code: number, reason: string, cause?: unknown): void {
    if (this.options.now() - this.welcomedAt >= STABLE_MS) this.options.backoff.reset();
    const { next } = this;
    if (next === undefined) {
      this.again(code, reason, cause);
      return;
    }
    this.link?.drop('');
    this.link = undefined;
    this.clearTimers();
    this.state = 'connecting';
    // By its successor, which the welcome is about to reach: nothing to tell.
    if (code !== CLOSE_CODES.replaced.code) this.options.down(endOf(code, reason, cause), 0);
  }

  /** An attempt has failed. */
  private refused(code: number, reason: string, cause?: unknown): void {
    this.next?.drop('');
    this.next = undefined;
    // The session goes on, if only until the server closes it.
    if (this.link !== undefined) this.after(this.options.backoff.next(), () => void this.dial());
    else this.again(code, reason, cause);
  }

  private again(code: number, reason: string, cause: unknown): void {
    const { backoff, now } = this.options;
    const end = endOf(code, reason, cause);
    if (isFinalClose(code)) {
      this.down(end, undefined);
      return;
    }
    if (code === CLOSE_CODES.tooManySessions.code || code === CLOSE_CODES.rateLimited.code)
      backoff.atLeast(TOO_MUCH_ATTEMPTS);
    const retryInMs = this.returnAt === undefined ? backoff.next() : Math.max(0, this.returnAt - now());
    this.down(end, retryInMs);
    // Unless whoever was told has decided otherwise.
    if (this.state === 'waiting') this.after(retryInMs, () => this.attempt());
  }

  private down(end: { code: number; reason: string; cause?: unknown }, retryInMs: number | undefined): void {
    if (retryInMs === undefined) globalThis.removeEventListener?.('online', this.online);
    this.drop(end.reason);
    this.state = retryInMs === undefined ? 'closed' : 'waiting';
    this.options.down(end, retryInMs);
  }

  private drop(reason: string): void {
    this.clearTimers();
    this.epoch += 1;
    this.link?.drop(reason);
    this.next?.drop(reason);
    this.link = undefined;
    this.next = undefined;
  }

  private after(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      run();
    }, ms);
    this.timers.add(timer);
  }

  private clearTimers(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }
}

function endOf(code: number, reason: string, cause: unknown) {
  return { code, reason, ...(cause === undefined ? {} : { cause }) };
}
