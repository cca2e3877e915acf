/** A device of somebody: the client library, and a hand that writes down all that it shows. */
import {
  type ChannelEvent,
  type ClientStorage,
  MemoryStorage,
  MillraceClient,
  MillraceError,
} from '../../../lib/client/index.ts';
import { type Entry, type Journal, numberOf, textOf } from '../ledger/journal.ts';
import type { Random } from '../random.ts';
import { tapped } from './tap.ts';

export interface DeviceOptions {
  index: number;
  user: string;
  name: string;
  url: string;
  token: string;
  /** Is removed from groups now and then: what it reads there, or looks up, may come too late. */
  guest: boolean;
  journal: Journal;
  random: Random;
  seen: (channel: string, seq: number) => void;
}

/** One in so many messages is read; the rest stays unread until the reader writes or reads on. */
const READ_ONE_IN = 6;

export class Device {
  readonly index: number;
  readonly user: string;
  readonly name: string;
  /** Channel → the highest seq shown, or accepted as one's own. */
  readonly shown = new Map<string, number>();
  /** Own messages that may still be edited or deleted. */
  readonly own: { channel: string; seq: number }[] = [];
  client: MillraceClient;
  away = false;
  shows = 0;
  gaps = 0;
  readonly #options: DeviceOptions;
  /** What an application keeps over a restart. */
  readonly #storage: ClientStorage = new MemoryStorage();
  readonly #reads = new Map<string, number>();
  readonly #webSocket: typeof WebSocket;
  #looksAt: { users: readonly string[]; channels: readonly string[] } = { users: [], channels: [] };
  #listening = false;

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.index = options.index;
    this.user = options.user;
    this.name = options.name;
    options.journal.write(['device', options.journal.now, this.user, this.name]);
    this.#webSocket = tapped(options.journal, this.index);
    this.client = this.#open();
  }

  #open(): MillraceClient {
    const { url, token, journal } = this.#options;
    const client = new MillraceClient({
      url,
      token,
      device: this.name,
      storage: this.#storage,
      webSocket: this.#webSocket,
      reconnectBaseMs: 200,
      reconnectCapMs: 2_000,
      // After a gap everything is filled: nothing may be missing in the end.
      unknownFill: Number.MAX_SAFE_INTEGER,
    });
    client.on('event', (event) => this.#show(event));
    client.on('receipt', ({ channel, user, delivered, read }) => {
      journal.write(['receipt', journal.now, this.index, channel, user, delivered, read]);
    });
    client.on('gap', ({ channels }) => {
      this.gaps++;
      journal.write(['gap', journal.now, this.index, channels.length]);
    });
    client.on('live', () => {
      if (!this.#listening) return;
      this.#listening = false;
      journal.write(['back', journal.now, this.index]);
      // A read is not answered: one that was written into a connection already dead is lost with the process.
      for (const [channel, seq] of this.#reads) client.read(channel, seq);
    });
    client.on('error', (error) => {
      if (this.#options.guest && isGone(error)) {
        const [, channel, after] = /^history of (\S+) after (\d+) cannot be read$/.exec(error.message) ?? [];
        if (channel !== undefined) journal.write(['barred', journal.now, this.index, channel, Number(after)]);
        return;
      }
      journal.write(['error', journal.now, this.index, error.message]);
    });
    client.on('closed', ({ byUser, code, reason }) => {
      if (!byUser) journal.write(['error', journal.now, this.index, `closed for good: ${code} ${reason}`]);
    });
    return client;
  }

  #show(event: ChannelEvent): void {
    const { journal, random } = this.#options;
    const { type, channel, seq, id } = event;
    const n = 'client_id' in event ? numberOf(event.client_id) : null;
    const text = 'content' in event ? event.content : undefined;
    const odd = n !== null && text !== undefined && text !== textOf(n) ? text : undefined;
    const told = event.type === 'member' ? `${event.action} ${event.user}` : odd;
    const now = journal.now;
    journal.write(
      told === undefined
        ? ['shown', now, this.index, type, channel, seq, id, n]
        : ['shown', now, this.index, type, channel, seq, id, n, told],
    );
    this.shows++;
    this.reached(channel, seq);
    if (type === 'message' && random.below(READ_ONE_IN) === 0) this.read(channel, seq);
  }

  reached(channel: string, seq: number): void {
    if (seq > (this.shown.get(channel) ?? 0)) this.shown.set(channel, seq);
    this.#options.seen(channel, seq);
  }

  /** What its screen shows besides messages: who is online, and the ticks of its direct channels. */
  look(at: { users: readonly string[]; channels: readonly string[] }): void {
    this.#looksAt = at;
    this.client.watch(at.users);
    for (const channel of at.channels) this.client.receipts(channel);
  }

  /**
   * What it shows there, of its user's last messages, which all have received: whether that is final, and the entries
   * that say so. `isRead` knows better than the device.
   */
  screen(
    last: (channel: string) => number,
    isRead: (channel: string, seq: number) => boolean,
  ): { final: boolean; entries: Entry[] } {
    const { now } = this.#options.journal;
    const { users, channels } = this.#looksAt;
    const entries: Entry[] = [];
    let final = true;
    for (const user of users) {
      const status = this.client.presence(user)?.status ?? 'unknown';
      final &&= status === 'online';
      entries.push(['presence', now, this.index, user, status]);
    }
    for (const channel of channels) {
      const seq = last(channel);
      const tick = this.client.tick(channel, seq);
      final &&= tick === 'read' || (tick === 'delivered' && !isRead(channel, seq));
      entries.push(['tick', now, this.index, channel, seq, tick]);
    }
    return { final, entries };
  }

  read(channel: string, seq: number): void {
    const { journal } = this.#options;
    if (seq > (this.#reads.get(channel) ?? 0)) this.#reads.set(channel, seq);
    journal.write(['read', journal.now, this.index, channel, seq]);
    this.client.read(channel, seq);
  }

  hasRead(channel: string): number {
    return this.#reads.get(channel) ?? 0;
  }

  /** Only with nothing under way: an application that ends over a send does not know what became of it. */
  get free(): boolean {
    return !this.away && !this.#listening && this.client.pending === 0;
  }

  async leave(): Promise<void> {
    const { journal } = this.#options;
    this.away = true;
    journal.write(['left', journal.now, this.index]);
    await this.client.close({ timeoutMs: 1 });
  }

  /** The same device, started again with what it had stored. */
  comeBack(): void {
    const { journal } = this.#options;
    journal.write(['coming', journal.now, this.index]);
    this.#listening = true;
    this.away = false;
    this.client = this.#open();
    this.look(this.#looksAt);
    void this.client.connect().catch(() => undefined); // told by `closed`
  }
}

function isGone(error: Error): boolean {
  const reason = error.cause ?? error;
  return reason instanceof MillraceError && reason.code === 'not_found';
}
