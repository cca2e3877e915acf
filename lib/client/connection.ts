/**
 * One session at a time over a WebSocket, and another whenever it ends: hello, heartbeat, the watch over a connection
 * that died silently, and when to try again. What the frames mean is the client's business.
 */
import { CLOSE_CODES, isFinalClose } from '../protocol/errors.ts';
import type { ClientFrame, GoawayFrame, HelloFrame, ServerFrame, WelcomeFrame } from '../protocol/frames.ts';
import type { Backoff } from './backoff.ts';

export type ConnectionState = 'closed' | 'connecting' | 'replaying' | 'live' | 'waiting';

export interface ConnectionOptions {
  /** `ws://host:port/v1/ws` */
  url: string;
  webSocket: new (url: string) => WebSocket;
  hello: () => Promise<HelloFrame>;
  backoff: Backoff;
  now: () => number;
  /** From the first byte to `welcome`. */
  connectTimeoutMs: number;
  /** How long a ping may go without any frame from the server. */
  pongTimeoutMs: number;
  welcome: (frame: WelcomeFrame) => void;
  live: (offset: string) => void;
  frame: (frame: ServerFrame) => void;
  heartbeat: () => void;
  /** The connection is gone, or an attempt failed; another follows after `retryInMs`, unless undefined. */
  down: (end: { code: number; reason: string; cause?: unknown }, retryInMs: number | undefined) => void;
  failed: (error: unknown) => void;
}

/** A session that lived this long starts the backoff anew; a server that throws one out at once is not hammered. */
const STABLE_MS = 5_000;
const NO_CODE = 1006;
/** Refusals that say "too much" wait longer from the first time on. */
const TOO_MUCH_ATTEMPTS = 4;

export class Connection {
  state: ConnectionState = 'closed';
  private socket: WebSocket | undefined;
  /** Handlers of an earlier socket see that they are no longer meant. */
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
    if (this.state === 'closed' || this.state === 'waiting') void this.attempt();
  }

  /** False when there is no session to write to. */
  send(frame: ClientFrame): boolean {
    if (!this.isUp || this.socket?.readyState !== 1) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** A new session at once, for a reason of one's own. */
  restart(reason: string): void {
    if (this.state === 'closed') return;
    this.down({ code: CLOSE_CODES.bye.code, reason }, 0);
    if (this.state === 'waiting') void this.attempt();
  }

  close(): void {
    globalThis.removeEventListener?.('online', this.online);
    this.drop('');
    this.state = 'closed';
  }

  private async attempt(): Promise<void> {
    this.clearTimers();
    const epoch = ++this.epoch;
    this.state = 'connecting';
    this.returnAt = undefined;
    let hello: string;
    try {
      hello = JSON.stringify(await this.options.hello());
    } catch (cause) {
      if (epoch === this.epoch) this.lost(NO_CODE, 'no token', cause);
      return;
    }
    if (epoch !== this.epoch) return;
    const { connectTimeoutMs } = this.options;
    this.after(connectTimeoutMs, () => this.lost(NO_CODE, `no session within ${connectTimeoutMs} ms`));
    const socket = new this.options.webSocket(this.options.url);
    this.socket = socket;
    let cause: unknown;
    socket.onopen = () => socket.send(hello);
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (epoch === this.epoch) this.receive(event.data);
    };
    // Always followed by close; only here is the cause told, and in browsers not even here.
    socket.onerror = (event: Event) => {
      const { error, message } = event as Partial<ErrorEvent>;
      cause = error ?? message;
    };
    socket.onclose = (event: CloseEvent) => {
      if (epoch === this.epoch) this.lost(event.code, event.reason, cause);
    };
  }

  private receive(data: unknown): void {
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
        this.clearTimers();
        this.state = 'replaying';
        this.welcomedAt = this.options.now();
        this.heartbeatMs = frame.heartbeat_ms;
        this.beat();
        this.options.welcome(frame);
        break;
      case 'live':
        this.state = 'live';
        this.options.live(frame.offset);
        break;
      case 'goaway':
        this.leave(frame);
        break;
      case 'pong':
        break;
      default:
        this.options.frame(frame);
    }
  }

  /** The network is back: a wait ends now, and a socket that may have died meanwhile has to show that it lives. */
  private backOnline(): void {
    if (this.state === 'waiting' && this.returnAt === undefined) void this.attempt();
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
    this.returnAt = this.options.now() + frame.reconnect_in_ms;
    this.after(frame.reconnect_in_ms, () => {
      this.down({ code: CLOSE_CODES.goingAway.code, reason: frame.reason }, 0);
      if (this.state === 'waiting') void this.attempt();
    });
  }

  private lost(code: number, reason: string, cause?: unknown): void {
    const { backoff, now } = this.options;
    const end = { code, reason, ...(cause === undefined ? {} : { cause }) };
    if (isFinalClose(code)) {
      this.down(end, undefined);
      return;
    }
    if (this.isUp && now() - this.welcomedAt >= STABLE_MS) backoff.reset();
    if (code === CLOSE_CODES.tooManySessions.code || code === CLOSE_CODES.rateLimited.code)
      backoff.atLeast(TOO_MUCH_ATTEMPTS);
    const retryInMs = this.returnAt === undefined ? backoff.next() : Math.max(0, this.returnAt - now());
    this.down(end, retryInMs);
    // Unless whoever was told has decided otherwise.
    if (this.state === 'waiting') this.after(retryInMs, () => void this.attempt());
  }

  private down(end: { code: number; reason: string; cause?: unknown }, retryInMs: number | undefined): void {
    if (retryInMs === undefined) globalThis.removeEventListener?.('online', this.online);
    this.drop(end.reason);
    this.state = retryInMs === undefined ? 'closed' : 'waiting';
    this.options.down(end, retryInMs);
  }

  /** Lets go of the socket without waiting for the other side, which may be long gone. */
  private drop(reason: string): void {
    this.clearTimers();
    this.epoch += 1;
    const { socket } = this;
    this.socket = undefined;
    if (socket === undefined) return;
    // An error while closing concerns nobody any more; without a handler some implementations would throw it.
    socket.onerror = () => {};
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    if (socket.readyState <= 1) socket.close(CLOSE_CODES.bye.code, reason.slice(0, 40));
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
