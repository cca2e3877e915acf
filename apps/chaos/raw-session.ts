/** One WebSocket session spoken by hand: what the client library would never send, and frames exactly as they came. */
import { WebSocket } from 'ws';
import type { Deployment, MillraceProcess } from '../../ops/deployment.ts';

/** Any server frame; a test reads the fields that it expects. */
export interface Frame {
  type: string;
  [field: string]: unknown;
}

export interface Ended {
  code: number;
  reason: string;
}

const PATIENCE_MS = 15_000;

export class RawSession {
  readonly socket: WebSocket;
  /** Everything received, in order. */
  readonly frames: Frame[] = [];
  readonly ended: Promise<Ended>;
  #end: Ended | undefined;
  readonly #waiting = new Set<() => void>();
  readonly #listeners: ((frame: Frame) => void)[] = [];

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Frame;
      this.frames.push(frame);
      for (const listener of this.#listeners) listener(frame);
      for (const look of this.#waiting) look();
    });
    socket.on('error', () => undefined); // the close that follows says what a test wants to know
    this.ended = new Promise((resolve) =>
      socket.once('close', (code, reason) => {
        this.#end = { code, reason: String(reason) };
        for (const look of this.#waiting) look();
        resolve(this.#end);
      }),
    );
  }

  /** Resolves when the upgrade is done; no hello has been said. */
  static async open(gateway: MillraceProcess | string, headers: Record<string, string> = {}): Promise<RawSession> {
    const url = typeof gateway === 'string' ? gateway : gateway.webSocketUrl;
    const socket = new WebSocket(url, { headers, perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 });
    const session = new RawSession(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    return session;
  }

  /** Hello said and `live` reached, unless `live` is false: then only `welcome`. */
  static async start(
    deployment: Deployment,
    gateway: MillraceProcess,
    user: string,
    { device = 'phone', since, live = true }: { device?: string; since?: string; live?: boolean } = {},
  ): Promise<RawSession> {
    const session = await RawSession.open(gateway);
    session.hello(deployment.token(user), device, since);
    await session.next(live ? 'live' : 'welcome');
    return session;
  }

  hello(token: string, device = 'phone', since?: string): void {
    this.send({ type: 'hello', token, device, ...(since === undefined ? {} : { since }) });
  }

  send(frame: unknown): void {
    this.socket.send(JSON.stringify(frame));
  }

  text(text: string | Buffer): void {
    this.socket.send(text, { binary: false });
  }

  on(listener: (frame: Frame) => void): void {
    this.#listeners.push(listener);
  }

  of(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  /** The first frame of the type that fits, received already or to come. */
  next(
    type: string,
    fits: Partial<Frame> | ((frame: Frame) => boolean) = {},
    patienceMs = PATIENCE_MS,
  ): Promise<Frame> {
    const match = typeof fits === 'function' ? fits : (f: Frame) => Object.entries(fits).every(([k, v]) => f[k] === v);
    let at = 0;
    const look = () => {
      for (; at < this.frames.length; at++) {
        const frame = this.frames[at];
        if (frame?.type === type && match(frame)) return frame;
      }
      return undefined;
    };
    return this.until(look, `${type} ${typeof fits === 'function' ? '' : JSON.stringify(fits)}`, patienceMs);
  }

  /** What `look` finds once it finds something; asked again at each frame. */
  until<T>(look: () => T | undefined | false, what: string, patienceMs = PATIENCE_MS): Promise<T> {
    return new Promise((resolve, reject) => {
      const again = () => {
        const found = look();
        if (found !== undefined && found !== false) finish(() => resolve(found));
        else if (this.#end) finish(() => reject(new Error(`closed before ${what}: ${this.#said()}`)));
      };
      const timer = setTimeout(() => finish(() => reject(new Error(`no ${what}: ${this.#said()}`))), patienceMs);
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(again);
        settle();
      };
      this.#waiting.add(again);
      again();
    });
  }

  #said(): string {
    const last = this.frames.slice(-5).map((frame) => JSON.stringify(frame).slice(0, 200));
    return `${JSON.stringify(this.#end) ?? 'open'}, ${this.frames.length} frames, at last ${last.join(' ')}`;
  }

  /** Answers a `ping` with its own ref: everything sent before has been parsed, though perhaps not been answered. */
  async ping(ref: string): Promise<Frame> {
    this.send({ type: 'ping', ref });
    return await this.next('pong', { ref });
  }

  async close(): Promise<void> {
    this.socket.close(1000);
    await this.ended;
  }
}
