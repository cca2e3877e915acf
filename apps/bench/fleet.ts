/** The generator's clients: they connect, resume, ack like the client library does, and come back when cut off. */
import { type Dialect, dialects } from './dialects.ts';
import type { ClientSpec, Range } from './orders.ts';
import { Wire } from './wire.ts';

/** As in the client library: so soon after the first message of a quiet time, then at most one per session a second. */
const ACK_DELAY_MS = 100;
const ACK_INTERVAL_MS = 1000;
const PING_EVERY_MS = 25_000;
const RETURN_WITHIN_MS = 500;
const MOST_FAILURES = 20;

export interface Client {
  readonly index: number;
  readonly user: string;
  readonly token: string;
  gateway: number;
  wire: Wire | undefined;
  state: 'away' | 'connecting' | 'live';
  /** What the server calls its session, where that matters. */
  session: string;
  /** The last offset received: where it resumes. */
  offset: string;
  /** The last one that it has acked. */
  acked: string;
  /** A message is to be acked. */
  ackWaits: boolean;
  /** The last ack was less than the interval ago. */
  ackedLately: boolean;
  heardOfAt: number;
  failures: number;
  waiting: { resolve(): void; reject(error: Error): void } | undefined;
}

interface Due {
  client: Client;
  due: number;
}

export interface FleetEvents {
  message(client: Client, head: string): void;
  accepted(client: Client, head: string): void;
  error(client: Client, head: string): void;
  live(client: Client): void;
  gap(client: Client): void;
}

export class Fleet {
  readonly clients: Client[] = [];
  addresses: readonly string[] = [];
  dialect: Dialect = dialects.millrace;
  acks = true;
  reconnects = 0;
  readonly #events: FleetEvents;
  /** Acks that come soon, and clients that may ack again: each in the order of their times. */
  readonly #soon = new Line();
  readonly #pauses = new Line();
  #pingAt = 0;

  constructor(events: FleetEvents) {
    this.#events = events;
    setInterval(() => {
      this.#pings();
      this.tick(performance.now()); // what is to be acked after the load
    }, 1000).unref();
  }

  /** Resolves when all are live. */
  async connect(specs: readonly ClientSpec[], atOnce: number): Promise<void> {
    const added = specs.map((spec): Client => {
      const client: Client = {
        ...spec,
        index: this.clients.length,
        wire: undefined,
        state: 'away',
        session: '',
        offset: '',
        acked: '',
        ackWaits: false,
        ackedLately: false,
        heardOfAt: 0,
        failures: 0,
        waiting: undefined,
      };
      this.clients.push(client);
      return client;
    });
    let next = 0;
    const worker = async () => {
      for (let client = added[next++]; client; client = added[next++]) await this.open(client);
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, added.length) }, worker));
  }

  /** Resolves when the client is live. */
  open(client: Client): Promise<void> {
    return new Promise((resolve, reject) => {
      client.waiting = { resolve, reject };
      this.#dial(client);
    });
  }

  leave([from, to]: Range): void {
    for (const client of this.clients.slice(from, to)) {
      client.state = 'away';
      client.wire?.close();
      client.wire = undefined;
    }
  }

  /** Sends the acks that are due; the generator's clock calls it. */
  tick(now: number): void {
    for (const client of this.#soon.take(now)) this.#ack(client, now);
    for (const client of this.#pauses.take(now)) {
      client.ackedLately = false;
      if (client.ackWaits) this.#ack(client, now);
    }
  }

  #ack(client: Client, now: number): void {
    client.ackWaits = false;
    if (client.state !== 'live' || client.acked === client.offset) return;
    client.acked = client.offset;
    client.wire?.send(this.dialect.ack(client.offset));
    if (client.ackedLately) return;
    client.ackedLately = true;
    this.#pauses.add(client, now + ACK_INTERVAL_MS);
  }

  #dial(client: Client): void {
    const url = new URL(this.addresses[client.gateway % this.addresses.length] ?? '');
    client.state = 'connecting';
    const { dialect } = this;
    const wire: Wire = new Wire(url.hostname, Number(url.port), dialect.path, dialect.tail, {
      open: () => {
        if (dialect.speaksFirst) wire.send(dialect.hello(client));
        client.heardOfAt = performance.now();
      },
      frame: (head, tail) => {
        if (client.wire === wire) this.#frame(client, head, tail);
      },
      closed: (reason) => {
        if (client.wire !== wire) return;
        if (++client.failures > MOST_FAILURES) {
          client.waiting?.reject(new Error(`${client.user} cannot connect: ${reason}`));
          client.state = 'away';
          return;
        }
        // Cut off: back on the next gateway, within a time that spreads those who were cut off together.
        client.wire = undefined;
        client.state = 'connecting';
        client.gateway++;
        this.reconnects++;
        setTimeout(() => {
          if (client.state === 'connecting' && !client.wire) this.#dial(client);
        }, Math.random() * RETURN_WITHIN_MS);
      },
    });
    client.wire = wire;
  }

  #frame(client: Client, head: string, tail: string): void {
    const heard = this.dialect.hear(client, head, tail);
    switch (heard) {
      case 'message':
      case 'entry':
        if (!client.ackWaits && this.acks) {
          client.ackWaits = true;
          if (!client.ackedLately) this.#soon.add(client, performance.now() + ACK_DELAY_MS);
        }
        if (heard === 'message') this.#events.message(client, head);
        return;
      case 'accepted':
        this.#events.accepted(client, head);
        return;
      case 'live anew':
      case 'live':
        if (heard === 'live anew') this.#events.gap(client);
        client.state = 'live';
        this.#events.live(client);
        client.failures = 0;
        client.waiting?.resolve();
        client.waiting = undefined;
        return;
      case 'greeting':
        client.wire?.send(this.dialect.hello(client));
        return;
      case 'ping':
        client.wire?.send(this.dialect.pong);
        return;
      case 'gap':
        this.#events.gap(client);
        return;
      case 'refused':
        client.wire?.destroy();
        return;
      case 'error':
        this.#events.error(client, head);
    }
  }

  /** Half a minute of silence is too long for a gateway: each client pings in a slice of its own. */
  #pings(): void {
    if (this.dialect.ping === '') return;
    const now = performance.now();
    const slice = Math.ceil(this.clients.length / (PING_EVERY_MS / 1000));
    for (let i = 0; i < slice; i++) {
      const client = this.clients[this.#pingAt++ % this.clients.length];
      if (client?.state === 'live' && now - client.heardOfAt > PING_EVERY_MS / 2) {
        client.heardOfAt = now;
        client.wire?.send(this.dialect.ping);
        this.#ack(client, now);
      }
    }
  }
}

/** First come, first due. */
class Line {
  readonly #waiting: Due[] = [];
  #head = 0;

  add(client: Client, due: number): void {
    this.#waiting.push({ client, due });
  }

  *take(now: number): Generator<Client> {
    for (let next = this.#waiting[this.#head]; next && next.due <= now; next = this.#waiting[this.#head]) {
      this.#head++;
      yield next.client;
    }
    if (this.#head <= 10_000) return;
    this.#waiting.splice(0, this.#head);
    this.#head = 0;
  }
}
