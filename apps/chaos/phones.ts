/** Phones by the thousand: a WebSocket each, acks like the client library's, and a memory of what was acked when. */
import { WebSocket } from 'ws';
import type { Deployment } from '../../ops/deployment.ts';

const ACK_EVERY_MS = 500;
const PING_EVERY_MS = 25_000;
const RECONNECT_MS = 200;

export interface Sent {
  id: string;
  to: string;
  acceptedAt: number;
}

export class Phone {
  readonly user: string;
  /** Messages of others that came, by id: their offsets. */
  readonly got = new Map<string, string>();
  /** When the ack was sent that covers a message, by id. */
  readonly ackedAt = new Map<string, number>();
  readonly #deployment: Deployment;
  readonly #sent: (sent: Sent) => void;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #pending = new Map<string, string>();
  #socket: WebSocket | undefined;
  #url: string;
  #gone = false;
  #unacked: [id: string, offset: string][] = [];
  #count = 0;

  constructor(deployment: Deployment, url: string, user: string, sent: (sent: Sent) => void) {
    this.#deployment = deployment;
    this.#url = url;
    this.user = user;
    this.#sent = sent;
  }

  /** Resolves at the first `live`. */
  async connect(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.user} is not live in time`)), 30_000);
      this.#open(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#timers.push(setInterval(() => this.#ack(), ACK_EVERY_MS));
    this.#timers.push(setInterval(() => this.#frame({ type: 'ping' }), PING_EVERY_MS));
  }

  /** Where it goes from now on when its connection ends. */
  moveTo(url: string): void {
    this.#url = url;
  }

  send(to: string): void {
    const client_id = `${++this.#count}`;
    this.#pending.set(client_id, to);
    this.#frame({ type: 'send', to, client_id, content: `message ${client_id} of ${this.user}` });
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Never comes back. Its socket is left as it is, unless it says goodbye. */
  vanish(goodbye: boolean): void {
    this.#gone = true;
    for (const timer of this.#timers) clearInterval(timer);
    if (goodbye) this.#socket?.close(1000);
  }

  end(): void {
    this.vanish(false);
    this.#socket?.terminate();
  }

  #open(onLive?: () => void): void {
    if (this.#gone) return;
    const socket = new WebSocket(this.#url, { perMessageDeflate: false });
    this.#socket = socket;
    socket.on('open', () =>
      this.#frame({ type: 'hello', device: 'phone', token: this.#deployment.token(this.user, { name: this.user }) }),
    );
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Record<string, string>;
      if (frame.type === 'live') onLive?.();
      if (this.#gone) return;
      if (frame.type === 'accepted') this.#accepted(frame.client_id ?? '', frame.id ?? '');
      if (frame.type === 'message' && frame.from !== this.user) this.#receive(frame.id ?? '', frame.offset ?? '');
    });
    socket.on('error', () => undefined); // the close that follows opens another
    socket.on('close', () => {
      if (this.#socket === socket && !this.#gone) setTimeout(() => this.#open(onLive), RECONNECT_MS);
    });
  }

  #receive(id: string, offset: string): void {
    this.got.set(id, offset);
    this.#unacked.push([id, offset]);
  }

  #accepted(clientId: string, id: string): void {
    const to = this.#pending.get(clientId);
    if (to === undefined) return;
    this.#pending.delete(clientId);
    this.#sent({ id, to, acceptedAt: performance.now() });
  }

  #ack(): void {
    const last = this.#unacked.at(-1);
    if (!last || this.#socket?.readyState !== 1) return;
    this.#frame({ type: 'ack', offset: last[1] });
    for (const [id] of this.#unacked) this.ackedAt.set(id, performance.now());
    this.#unacked = [];
  }

  #frame(frame: unknown): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }
}
