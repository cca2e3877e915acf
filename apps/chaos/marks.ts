/**
 * How far each user came, kept outside of what is tested: what their devices showed, read and wrote. In the end the
 * watermarks, unread counts and ticks must say that, and nothing else.
 */
import type { Redis } from 'ioredis';
import type { MillraceClient, Tick } from '../../lib/client/index.ts';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import { parseChannel } from '../../lib/protocol/ids.ts';
import type { Accepted } from './ledger.ts';

/** One in three stays unread, unless the reader writes or reads on. */
const UNREAD_ONE_IN = 3;

interface Mark {
  delivered: number;
  read: number;
}
interface Device {
  client: MillraceClient;
  user: string;
}

export class Marks {
  /** Channel → user → how far. */
  readonly #marks = new Map<string, Map<string, Mark>>();
  readonly #devices: Device[] = [];
  #written = new Map<string, readonly Accepted[]>();
  #reads = 0;

  channel(channel: string, members: Iterable<string>): void {
    this.#marks.set(channel, new Map(Array.from(members, (user) => [user, { delivered: 0, read: 0 }])));
  }

  /** Before it connects. From now on it reads most of what it shows. */
  device(client: MillraceClient, user: string): void {
    this.#devices.push({ client, user });
    client.on('message', ({ channel, seq }) => {
      this.#raise(channel, user, { delivered: seq, read: 0 });
      if (seq % UNREAD_ONE_IN === 0) return;
      this.#reads++;
      this.#raise(channel, user, { delivered: seq, read: seq });
      client.read(channel, seq);
    });
  }

  /** The devices look at the ticks of their direct channels from now on. */
  look(): void {
    for (const { client, user } of this.#devices) for (const channel of this.#directOf(user)) client.receipts(channel);
  }

  get reads(): number {
    return this.#reads;
  }

  #raise(channel: string, user: string, { delivered, read }: Mark): void {
    const mark = this.#marks.get(channel)?.get(user);
    if (!mark) return;
    mark.delivered = Math.max(mark.delivered, delivered);
    mark.read = Math.max(mark.read, read);
  }

  #directOf(user: string): string[] {
    return [...this.#marks].flatMap(([channel, marks]) =>
      marks.has(user) && parseChannel(channel)?.kind === 'direct' ? [channel] : [],
    );
  }

  /** All that was accepted, before it is asked what is wrong. */
  wrote(accepted: readonly Accepted[]): void {
    for (const { channel, from, seq } of accepted) this.#raise(channel, from, { delivered: seq, read: seq });
    this.#written = Map.groupBy(accepted, ({ channel }) => channel);
  }

  /** Ticks that are not yet what the other one did. To be asked before `wrong`, which makes the devices learn it. */
  untold(): string[] {
    return this.#devices.flatMap(({ client, user }) =>
      this.#directOf(user).flatMap((channel) => {
        const own = this.#last(channel, (from) => from === user);
        const other = [...this.#marks.get(channel)!].find(([name]) => name !== user)?.[1];
        if (own === 0 || !other) return [];
        const tick: Tick = other.read >= own ? 'read' : other.delivered >= own ? 'delivered' : 'sent';
        const shown = client.tick(channel, own);
        return shown === tick ? [] : [`${user}: ${channel} ${own} has the tick ${shown}, not ${tick}`];
      }),
    );
  }

  /** What does not say what the users did, in Redis and over HTTP. */
  async wrong(redis: Redis, keys: Keyspace): Promise<string[]> {
    const clients = new Map(this.#devices.map(({ client, user }) => [user, client]));
    const stored = [...this.#marks].map(([channel, marks]) => this.#stored(channel, marks, redis, keys));
    const pulled = [...this.#marks].map(([channel, marks]) => {
      const [someone = ''] = marks.keys();
      return this.#pulled(channel, marks, clients.get(someone)!);
    });
    const listed = [...clients].map(([user, client]) => this.#listed(user, client));
    return (await Promise.all([...stored, ...pulled, ...listed])).flat();
  }

  async #stored(channel: string, marks: ReadonlyMap<string, Mark>, redis: Redis, keys: Keyspace): Promise<string[]> {
    const direct = parseChannel(channel)?.kind === 'direct';
    const stored = await redis.hgetall(direct ? keys.channel(channel) : keys.receipts(channel));
    return differences('stored', channel, marks, (user) => stored[direct ? `receipt:${user}` : user]);
  }

  async #pulled(channel: string, marks: ReadonlyMap<string, Mark>, client: MillraceClient): Promise<string[]> {
    const pulled = await client.loadReceipts(channel);
    const of = new Map(pulled.map(({ user, delivered, read }) => [user, `${delivered} ${read}`]));
    return differences('pulled', channel, marks, (user) => of.get(user));
  }

  async #listed(user: string, client: MillraceClient): Promise<string[]> {
    const { conversations, unread_total } = await client.conversations({ limit: 100 });
    const sum = conversations.reduce((total, { unread }) => total + unread, 0);
    const wrong = sum === unread_total ? [] : [`${user}: ${sum} unread, and ${unread_total} in all`];
    for (const { channel, last_seq, read_seq, unread, peer } of conversations) {
      const marks = this.#marks.get(channel);
      const read = marks?.get(user)?.read ?? 0;
      const last = this.#last(channel, () => true);
      const count = (this.#written.get(channel) ?? []).filter(({ from, seq }) => from !== user && seq > read).length;
      const other = peer && [...(marks ?? [])].find(([name]) => name !== user)?.[1];
      const is = JSON.stringify({ last_seq, read_seq, unread, peer });
      const should = JSON.stringify({ last_seq: last, read_seq: read, unread: count, peer: other });
      if (last > 0 && is !== should) wrong.push(`listed for ${user}: ${channel} ${is}, not ${should}`);
    }
    return wrong;
  }

  #last(channel: string, by: (user: string) => boolean): number {
    return Math.max(0, ...(this.#written.get(channel) ?? []).filter(({ from }) => by(from)).map(({ seq }) => seq));
  }
}

function differences(
  where: string,
  channel: string,
  marks: ReadonlyMap<string, Mark>,
  at: (user: string) => string | undefined,
): string[] {
  return [...marks].flatMap(([user, { delivered, read }]) => {
    const [is, should] = [at(user) ?? '0 0', `${delivered} ${read}`];
    return is === should ? [] : [`${where}: ${channel} ${user} ${is}, not ${should}`];
  });
}
