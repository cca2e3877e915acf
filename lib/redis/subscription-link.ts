/**
 * The subscriptions at one server: a loop brings what is subscribed in line with what is wanted. Everything that happens (a
 * new wish, a broken connection, a frozen server, a slot that went elsewhere) changes one of the two and wakes the loop.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { RedisTimeoutError } from './errors.ts';

export interface SubscriptionServers {
  /** The server that has the channel; undefined while nobody has. Outside of a cluster there is but one. */
  serverOf(channel: string): string | undefined;
  /** Channels of one slot may go in one command; outside of a cluster all may. */
  slotOf(channel: string): number;
  /** An unconnected client, which does not reconnect. */
  dial(server: string): Redis;
  /** Whether the client's server still is the one meant (a failover by Sentinel). */
  isCurrent(client: Redis): boolean;
  onTopologyChange(listener: () => void): () => void;
}

/** Per command: an answer per channel, and Redis does nothing else meanwhile. */
const CHANNELS_PER_COMMAND = 200;
/** How long a frozen server, which keeps its sockets open, may go unnoticed. */
const PING_EVERY_MS = 3000;
const REPLY_WITHIN_MS = 2000;
const CONNECT_WITHIN_MS = 3000;
const MAX_BACKOFF_MS = 2000;

interface LinkEvents {
  message(channel: string, text: string): void;
  heard(names: readonly string[]): void;
  lost(names: Iterable<string>): void;
  failed(error: unknown): void;
  /** Nothing is wanted here any more. */
  ended(link: Link): void;
}

/** The connection to one server, for as long as anything is wanted of it. */
export class Link {
  readonly server: string;
  readonly #servers: SubscriptionServers;
  readonly #events: LinkEvents;
  readonly #wanted = new Set<string>();
  /** In force at the server. A name is taken out before its SUNSUBSCRIBE is sent. */
  readonly #subscribed = new Set<string>();
  #client: Redis | undefined;
  #wake: (() => void) | undefined;
  #closed = false;
  /** ioredis says `moved` of each refused SSUBSCRIBE and of each subscription that the server ended by itself. */
  #moves = 0;
  #refusals = 0;

  constructor(server: string, servers: SubscriptionServers, events: LinkEvents) {
    this.server = server;
    this.#servers = servers;
    this.#events = events;
    // In the next turn: by then everything that is wanted at once has been added.
    setImmediate(() => void this.#run());
  }

  hears(name: string): boolean {
    return this.#subscribed.has(name);
  }

  add(name: string): void {
    this.#wanted.add(name);
    this.#nudge();
  }

  remove(name: string): void {
    this.#wanted.delete(name);
    this.#nudge();
  }

  /** The topology has changed. */
  check(): void {
    if (this.#client && !this.#servers.isCurrent(this.#client)) this.#drop(this.#client);
  }

  close(): void {
    this.#closed = true;
    if (this.#client) this.#drop(this.#client);
    this.#nudge();
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#closed && (this.#wanted.size > 0 || this.#subscribed.size > 0); ) {
      try {
        const client = this.#client ?? (await this.#connect());
        const moved = await this.#reconcile(client);
        // Which subscriptions the server ended, with a slot that it gave away, ioredis does not tell: begin anew.
        if (this.#moves > this.#refusals && this.#client) this.#drop(this.#client);
        failures = moved ? failures + 1 : 0;
        if (moved) await sleep(backoffMs(failures));
        else if (this.#wanted.size > 0 && this.#settled()) await this.#idle(client);
      } catch (error) {
        if (this.#closed) break;
        if (this.#client) this.#drop(this.#client);
        this.#events.failed(error);
        await sleep(backoffMs(++failures));
      }
    }
    if (this.#client) this.#drop(this.#client);
    this.#events.ended(this);
  }

  /** True when the server says that it does not have some of the channels: the topology will tell who has. */
  async #reconcile(client: Redis): Promise<boolean> {
    let moved = false;
    for (const names of this.#commands([...this.#subscribed].filter((name) => !this.#wanted.has(name)))) {
      for (const name of names) this.#subscribed.delete(name);
      await answered(client.sunsubscribe(...names));
    }
    for (const names of this.#commands([...this.#wanted].filter((name) => !this.#subscribed.has(name)))) {
      try {
        await answered(client.ssubscribe(...names));
      } catch (error) {
        if (!(error instanceof Error) || !error.message.startsWith('MOVED')) throw error;
        moved = true;
        this.#refusals++;
        continue;
      }
      if (client !== this.#client) throw new Error('the connection ended');
      for (const name of names) this.#subscribed.add(name);
      this.#events.heard(names);
    }
    return moved;
  }

  #commands(names: readonly string[]): string[][] {
    const bySlot = new Map<number, string[]>();
    const commands: string[][] = [];
    for (const name of names) {
      const slot = this.#servers.slotOf(name);
      let command = bySlot.get(slot);
      if (!command || command.length >= CHANNELS_PER_COMMAND) {
        command = [];
        bySlot.set(slot, command);
        commands.push(command);
      }
      command.push(name);
    }
    return commands;
  }

  #settled(): boolean {
    if (this.#wanted.size !== this.#subscribed.size || !this.#client) return false;
    for (const name of this.#wanted) if (!this.#subscribed.has(name)) return false;
    return true;
  }

  /** Until something changes, or it is time to see that the server still lives. */
  async #idle(client: Redis): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const quiet = await new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, PING_EVERY_MS, true);
      this.#wake = () => resolve(false);
    });
    clearTimeout(timer);
    this.#wake = undefined;
    if (quiet && !this.#closed) await answered(client.ping());
  }

  #nudge(): void {
    this.#wake?.();
  }

  async #connect(): Promise<Redis> {
    const client = this.#servers.dial(this.server);
    let cause: unknown;
    client.on('error', (error) => {
      cause = error;
    });
    client.on('smessage', (channel: string, text: string) => this.#events.message(channel, text));
    client.on('moved', () => {
      this.#moves++;
      this.#nudge();
    });
    client.on('end', () => this.#drop(client));
    try {
      await answered(client.connect(), CONNECT_WITHIN_MS);
    } catch (error) {
      client.disconnect();
      throw cause ?? error;
    }
    if (this.#closed) client.disconnect();
    else this.#client = client;
    return client;
  }

  #drop(client: Redis): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    this.#moves = 0;
    this.#refusals = 0;
    const lost = [...this.#subscribed];
    this.#subscribed.clear();
    this.#events.lost(lost);
    client.disconnect();
    // `disconnect` half-closes the socket and waits for a server that may be frozen.
    client.stream?.destroy();
    this.#nudge();
  }
}

function backoffMs(failures: number): number {
  return Math.min(50 * 2 ** (failures - 1), MAX_BACKOFF_MS) * (0.5 + Math.random() / 2);
}

async function answered<T>(reply: Promise<T>, withinMs = REPLY_WITHIN_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(
      () => fail(new RedisTimeoutError(`no reply for a subscription within ${withinMs} ms`)),
      withinMs,
    );
  });
  try {
    return await Promise.race([reply, late]);
  } finally {
    clearTimeout(timer);
  }
}
