/** People who edit and delete their messages without a pause, and a look at whether history ever goes back. */

import type { Redis } from 'ioredis';
import { MillraceClient } from '../../lib/client/index.ts';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import type { Deployment, MillraceProcess } from '../../ops/deployment.ts';

const MESSAGES = 12;

/** What was accepted of one message so far. */
export interface Known {
  seq: number;
  version: number;
  deleted: boolean;
}
interface Entry {
  seq: number;
  type: string;
  target: number;
  content?: string;
  deleted?: boolean;
  edited_at?: number;
}

export class Writer {
  readonly channel: string;
  readonly messages: Known[] = [];
  readonly #client: MillraceClient;
  readonly gone: Known[] = [];
  /** Versions in the order in which they were given to the client, which is the order of the channel. */
  readonly #next = new Map<number, number>();
  changes = 0;

  constructor(deployment: Deployment, gateway: MillraceProcess, n: number) {
    this.channel = `dm:reader:writer-${n}`;
    this.#client = new MillraceClient({
      url: gateway.address,
      token: deployment.token(`writer-${n}`),
      device: 'phone',
    });
  }

  async begin(): Promise<void> {
    await this.#client.connect();
    for (let i = 0; i < MESSAGES; i++) {
      const { seq } = await this.#client.send({ channel: this.channel, content: `v0 of ${i}` });
      this.messages.push({ seq, version: 0, deleted: false });
    }
  }

  /** Several edits of one message in flight at once; now and then a deletion among them, and a new message instead. */
  async work(ended: () => boolean): Promise<void> {
    while (!ended()) {
      const at = Math.floor(Math.random() * this.messages.length);
      const known = this.messages[at];
      if (!known) throw new Error('no message');
      const burst = Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => this.#edit(known));
      if (Math.random() < 0.1) {
        burst.push(this.#delete(known));
        const { seq } = await this.#client.send({ channel: this.channel, content: 'v0 of a new one' });
        this.messages[at] = { seq, version: 0, deleted: false };
        this.gone.push(known);
      }
      await Promise.all(burst);
    }
  }

  async #edit(known: Known): Promise<void> {
    const version = (this.#next.get(known.seq) ?? 0) + 1;
    this.#next.set(known.seq, version);
    await this.#client.edit({ channel: this.channel, seq: known.seq, content: `v${version} of it` });
    known.version = Math.max(known.version, version);
    this.changes++;
  }

  async #delete(known: Known): Promise<void> {
    await this.#client.delete({ channel: this.channel, seq: known.seq });
    known.deleted = true;
    this.changes++;
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

export interface HistoryPage {
  messages: Entry[];
  last_seq: number;
}
const versionOf = (content: string | undefined) => Number(/^v(\d+) /.exec(content ?? '')?.[1] ?? -1);

/** Pages through the whole channel as `reader`, and says what was older than what was accepted before. */
export async function stale(writer: Writer, call: (line: string) => Promise<HistoryPage>): Promise<string[]> {
  const wrong: string[] = [];
  for (let after = 0; ; ) {
    const before = new Map([...writer.messages, ...writer.gone].map((known) => [known.seq, { ...known }]));
    const page = await call(`GET /v1/channels/${writer.channel}/messages?after=${after}&limit=200`);
    for (const { seq, type, target, content, deleted, edited_at } of page.messages) {
      const name = `${writer.channel} ${seq} (${type}): ${content ?? 'no text'}`;
      const known = before.get(type === 'message' ? seq : target);
      if (!known) continue;
      if (known.deleted && content !== undefined) wrong.push(`${name}, though deleted`);
      if (type !== 'message') continue;
      if (known.deleted && !deleted) wrong.push(`${name}, deletion unseen`);
      if (!deleted && versionOf(content) < known.version) wrong.push(`${name}, but v${known.version} was accepted`);
      if (!deleted && known.version > 0 && edited_at === undefined) wrong.push(`${name} without edited_at`);
    }
    const last = page.messages.at(-1)?.seq;
    if (last === undefined || last >= page.last_seq || page.messages.length < 200) return wrong;
    after = last;
  }
}

/** The channels whose latest entry is not archived yet. */
export async function unarchived(channels: readonly string[], redis: Redis, keys: Keyspace): Promise<string[]> {
  const behind: string[] = [];
  for (const channel of channels) {
    const [last, position] = await Promise.all([
      redis.hget(keys.channel(channel), 'last'),
      redis.hget(keys.positions(keys.partitionOf(channel)), 'archiver'),
    ]);
    if (compareIds(position ?? ZERO, last ?? ZERO) < 0) behind.push(`${channel}: ${position} of ${last}`);
  }
  return behind;
}
