/**
 * A TCP proxy for tests: stands between two of our processes and does what networks do. It can hold back either
 * direction, delay it, cut what is open, and refuse what comes.
 *
 * Each new connection goes to the first of `targets()` that can be reached, starting with another one each time: a load
 * balancer in front of gateways that come and go.
 */
import { createServer, type Server, type Socket, connect as tcp } from 'node:net';

export interface ProxyTarget {
  host: string;
  port: number;
}

/** `up`: towards the server. `down`: towards the client. */
export type Direction = 'up' | 'down';

const CONNECT_TIMEOUT_MS = 1000;

export class TcpProxy {
  readonly #server: Server;
  readonly #targets: () => readonly ProxyTarget[];
  readonly #links = new Set<Link>();
  readonly #held = new Set<Direction>();
  #delayMs = 0;
  #refusing = false;
  #choked = false;
  #turn = 0;

  private constructor(targets: () => readonly ProxyTarget[]) {
    this.#targets = targets;
    this.#server = createServer({ noDelay: true }, (client) => void this.#accept(client));
  }

  static async start(targets: () => readonly ProxyTarget[]): Promise<TcpProxy> {
    const proxy = new TcpProxy(targets);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (typeof address !== 'object' || address === null) throw new Error('the proxy is closed');
    return address.port;
  }

  /** `127.0.0.1:port`, to be put behind a scheme. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.#links.size;
  }

  /** From now on nothing passes in this direction; it is kept, in order, also of new connections. */
  hold(direction: Direction): void {
    this.#held.add(direction);
  }

  /** What was held passes now; of connections that one side has closed since, too. */
  release(direction: Direction): void {
    this.#held.delete(direction);
    for (const link of this.#links) link.flush(direction);
  }

  /** Bytes that are held in this direction at the moment. */
  heldBytes(direction: Direction): number {
    let bytes = 0;
    for (const link of this.#links) bytes += link.heldBytes(direction);
    return bytes;
  }

  /** Each chunk takes this much longer, in both directions. */
  slow(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** The clients do not read: what servers write is left in their sockets, whose buffers fill up. */
  choke(choked: boolean): void {
    this.#choked = choked;
    for (const link of this.#links) link.choke(choked);
  }

  /** Resets everything that is open; what comes later is served. */
  cut(): void {
    for (const link of this.#links) link.reset();
  }

  /**
   * The clients of everything that is open to this target lose it at once; the target does not hear of it before `tell`, as
   * when a network goes away without a word.
   */
  strand({ port }: ProxyTarget): { tell(): void; gone(): boolean } {
    const stranded = [...this.#links].filter((link) => link.port === port);
    for (const link of stranded) link.strand();
    return {
      tell: () => {
        for (const link of stranded) link.unstrand();
      },
      gone: () => !stranded.some((link) => link.open),
    };
  }

  /** Everything is cut, and new connections are closed at once, until told otherwise. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
    if (refusing) this.cut();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  async #accept(client: Socket): Promise<void> {
    if (this.#refusing) {
      client.on('error', () => undefined);
      client.destroy();
      return;
    }
    client.pause();
    const gate = {
      isHeld: (direction: Direction) => this.#held.has(direction),
      delayMs: () => this.#delayMs,
      isChoked: () => this.#choked,
    };
    const link = new Link(client, gate, () => this.#links.delete(link));
    this.#links.add(link);
    const targets = this.#targets();
    const first = this.#turn++;
    for (let i = 0; i < targets.length && link.open; i++) {
      const server = await dial(targets[(first + i) % targets.length]!);
      if (server) return link.join(server);
    }
    link.reset();
  }
}

function dial(target: ProxyTarget): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = tcp({ ...target, noDelay: true });
    const fail = () => {
      socket.destroy();
      resolve(undefined);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, fail);
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      resolve(socket);
    });
  });
}

interface Gate {
  isHeld(direction: Direction): boolean;
  delayMs(): number;
  isChoked(): boolean;
}

/** Two sockets. What is held of a closed connection still reaches the other side, as with a slow network. */
class Link {
  readonly #client: Socket;
  readonly #gate: Gate;
  readonly #onClosed: () => void;
  readonly #queues: Record<Direction, Buffer[]> = { up: [], down: [] };
  readonly #ended = new Set<Direction>();
  #server: Socket | undefined;
  #closed = false;
  #stranded = false;

  constructor(client: Socket, gate: Gate, onClosed: () => void) {
    this.#client = client;
    this.#gate = gate;
    this.#onClosed = onClosed;
    this.#read(client, 'up');
  }

  get open(): boolean {
    return !this.#closed;
  }

  join(server: Socket): void {
    if (this.#closed) {
      server.destroy();
      return;
    }
    this.#server = server;
    this.#read(server, 'down');
    this.#client.resume();
    if (this.#gate.isChoked()) server.pause();
    this.flush('up');
  }

  choke(choked: boolean): void {
    if (choked) this.#server?.pause();
    else this.#server?.resume();
  }

  /** Of the target. */
  get port(): number | undefined {
    return this.#server?.remotePort;
  }

  strand(): void {
    this.#stranded = true;
    this.#client.destroy();
  }

  unstrand(): void {
    this.#stranded = false;
    this.flush('up');
  }

  heldBytes(direction: Direction): number {
    return this.#queues[direction].reduce((sum, chunk) => sum + chunk.length, 0);
  }

  flush(direction: Direction): void {
    const to = direction === 'up' ? this.#server : this.#client;
    if (!to || this.#gate.isHeld(direction) || (this.#stranded && direction === 'up')) return;
    for (const chunk of this.#queues[direction].splice(0)) if (!to.destroyed) to.write(chunk);
    if (this.#ended.has(direction)) to.end();
  }

  reset(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.destroy();
    this.#server?.destroy();
    this.#onClosed();
  }

  #read(from: Socket, direction: Direction): void {
    from.on('data', (chunk: Buffer) => {
      this.#queues[direction].push(chunk);
      this.#pass(() => this.flush(direction));
    });
    from.on('error', () => undefined); // followed by close
    from.on('close', () => {
      this.#ended.add(direction);
      this.#pass(() => this.flush(direction));
      const both = this.#ended.has('up') && (this.#ended.has('down') || !this.#server);
      if (both) this.reset();
    });
    from.on('end', () => {
      this.#ended.add(direction);
      this.#pass(() => this.flush(direction));
    });
  }

  /** Equal delays keep the order. */
  #pass(deliver: () => void): void {
    const delayMs = this.#gate.delayMs();
    if (delayMs > 0) setTimeout(deliver, delayMs);
    else deliver();
  }
}
