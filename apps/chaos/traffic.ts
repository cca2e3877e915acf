/**
 * People who write to each other at a steady rate, and the ledger of it: what was accepted, and what each device showed.
 */
import { type Message, MillraceClient, type MillraceClientOptions } from '../../lib/client/index.ts';
import type { Deployment, MillraceProcess } from '../../ops/deployment.ts';

export interface Sent {
  channel: string;
  from: string;
  content: string;
  seq: number;
  id: string;
  /** When it was sent and when it was accepted, by `performance.now()`. */
  sentAt: number;
  acceptedAt: number;
}

export interface TrafficOptions {
  deployment: Deployment;
  /** Users are spread over them. */
  gateways: readonly Pick<MillraceProcess, 'address'>[];
  /** Each writes to the next, in a ring of direct channels. */
  users: number;
  /** Groups of five neighbours. */
  groups?: number;
  prefix?: string;
  /** How they reach a gateway, when not as they would by themselves. */
  through?: Pick<MillraceClientOptions, 'webSocket' | 'fetch'>;
}

const TICK_MS = 50;

export class Traffic {
  readonly users: readonly string[];
  readonly clients: readonly MillraceClient[];
  readonly sent: Sent[] = [];
  /** What was refused for good: nothing, when all is well. */
  readonly refused: unknown[] = [];
  /** By user, in the order shown. */
  readonly shown = new Map<string, Message[]>();
  /** Members by channel. */
  readonly channels = new Map<string, readonly string[]>();
  readonly #options: TrafficOptions;
  #timer: NodeJS.Timeout | undefined;
  #count = 0;
  #next = 0;
  readonly #pending = new Set<Promise<void>>();

  constructor(options: TrafficOptions) {
    this.#options = options;
    const { deployment, gateways, prefix = 'user' } = options;
    this.users = Array.from({ length: options.users }, (_, i) => `${prefix}-${String(i).padStart(3, '0')}`);
    this.clients = this.users.map((user, i) => {
      const client = new MillraceClient({
        url: gateways[i % gateways.length]!.address,
        token: deployment.token(user),
        device: 'phone',
        reconnectCapMs: 1_000,
        ...options.through,
      });
      const shown: Message[] = [];
      this.shown.set(user, shown);
      client.on('message', (message) => void shown.push(message));
      return client;
    });
  }

  async connect(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.connect()));
    for (let i = 0; i < (this.#options.groups ?? 0); i++) {
      const members = [0, 1, 2, 3, 4].map((k) => this.users[(i + k) % this.users.length]!);
      const group = await this.clients[i % this.users.length]!.createGroup({ title: `group ${i}`, members });
      this.channels.set(group.channel, members);
    }
    for (const [i, user] of this.users.entries()) {
      const pair = [user, this.users[(i + 1) % this.users.length]!].sort();
      this.channels.set(`dm:${pair[0]}:${pair[1]}`, pair);
    }
  }

  /** Sends this often, whatever the answers take, until `stop`. */
  start(perSecond: number): void {
    const startedAt = performance.now();
    const before = this.#count;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - startedAt) / 1000) * perSecond;
      while (this.#count - before < due) this.#sendNext();
    }, TICK_MS);
  }

  /** Sends no more, and waits until all that was sent is accepted. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.settle();
  }

  /** Resolves when what has been sent so far is accepted. */
  async settle(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** One message into each channel from each of its members; resolves when all are accepted. */
  async everywhere(): Promise<void> {
    for (const [channel, members] of this.channels) for (const user of members) this.send(channel, user);
    await this.settle();
  }

  send(channel: string, from: string): void {
    const client = this.clients[this.users.indexOf(from)]!;
    const content = `${this.#count++} ${'x'.repeat(200)}`;
    const sentAt = performance.now();
    const done = client.send({ channel, content }).then(
      ({ seq, id }) => {
        this.sent.push({ channel, from, content, seq, id, sentAt, acceptedAt: performance.now() });
      },
      (error: unknown) => void this.refused.push(error),
    );
    this.#pending.add(done);
    void done.then(() => this.#pending.delete(done));
  }

  #sendNext(): void {
    const channels = [...this.channels];
    const [channel, members] = channels[this.#next % channels.length]!;
    const round = Math.floor(this.#next / channels.length);
    this.#next++;
    this.send(channel, members[round % members.length]!);
  }

  /** Accepted messages that somebody who should have them was not shown, or was shown twice. Senders show their own. */
  wrong(sent: readonly Sent[] = this.sent): string[] {
    const times = new Map<string, number>();
    for (const [user, messages] of this.shown) {
      for (const { id } of messages) times.set(`${user} ${id}`, (times.get(`${user} ${id}`) ?? 0) + 1);
    }
    return sent.flatMap(({ channel, from, seq, id }) =>
      this.channels.get(channel)!.flatMap((user) => {
        const count = times.get(`${user} ${id}`) ?? 0;
        return user === from || count === 1 ? [] : [`${user}: ${channel} ${seq} (${id}) shown ${count} times`];
      }),
    );
  }

  /** Places where somebody was shown a channel's messages against their order. */
  disorder(): string[] {
    return [...this.shown].flatMap(([user, messages]) => {
      const last = new Map<string, number>();
      return messages.flatMap(({ channel, seq }) => {
        const before = last.get(channel) ?? 0;
        last.set(channel, seq);
        return seq > before ? [] : [`${user}: ${channel} ${seq} after ${before}`];
      });
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.clients.map((client) => client.close({ timeoutMs: 1_000 })));
  }
}
