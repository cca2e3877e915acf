/**
 * Archivers are killed and frozen in the middle of edits and deletions, and wake up late. Whoever reads history meanwhile
 * never meets a text again that was replaced or deleted before they asked.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MillraceClient } from '../../lib/client/index.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { Stage } from './stage.ts';

const CHANNELS = 6;
const MESSAGES = 12;
const SECONDS = 12;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2);
});
afterAll(() => stage?.clear());

/** What was accepted of one message so far. */
interface Known {
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

class Writer {
  readonly channel: string;
  readonly messages: Known[] = [];
  readonly #client: MillraceClient;
  /** Versions in the order in which they were given to the client, which is the order of the channel. */
  readonly #next = new Map<number, number>();
  changes = 0;

  constructor(n: number) {
    this.channel = `dm:reader:writer-${n}`;
    this.#client = new MillraceClient({
      url: stage.gateway(n).address,
      token: stage.deployment.token(`writer-${n}`),
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

  readonly gone: Known[] = [];

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

const versionOf = (content: string | undefined) => Number(/^v(\d+) /.exec(content ?? '')?.[1] ?? -1);

/** Pages through the whole channel, and says what was older than what was accepted before. */
async function stale(writer: Writer, gateway: number): Promise<string[]> {
  const wrong: string[] = [];
  for (let after = 0; ; ) {
    const before = new Map([...writer.messages, ...writer.gone].map((known) => [known.seq, { ...known }]));
    const page = await stage.call<{ messages: Entry[]; last_seq: number }>(
      'reader',
      `GET /v1/channels/${writer.channel}/messages?after=${after}&limit=200`,
      undefined,
      gateway,
    );
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

it(`for ${SECONDS} s no reader meets an old text, whatever befalls the archivers`, async () => {
  const writers = Array.from({ length: CHANNELS }, (_, n) => new Writer(n));
  await Promise.all(writers.map((writer) => writer.begin()));
  const end = performance.now() + SECONDS * 1000;
  const ended = () => performance.now() > end;

  let reads = 0;
  const wrong: string[] = [];
  const read = async (gateway: number) => {
    while (!ended()) {
      for (const writer of writers) {
        wrong.push(...(await stale(writer, gateway)));
        reads++;
      }
    }
  };

  let living = [...stage.deployment.processes].find((one) => one.roles.includes('archiver')) as MillraceProcess;
  let kills = 0;
  let freezes = 0;
  const frozen: MillraceProcess[] = [];
  const kill = async () => {
    for (let round = 0; !ended(); round++) {
      const next = await stage.deployment.start('archiver');
      const from = performance.now();
      await until('its turn', 5_000, () => performance.now() - from > 300 + Math.random() * 700);
      if (round % 2 === 0) {
        await living.kill('SIGKILL');
        kills++;
      } else {
        // Wakes up when another has its partitions, in the middle of whatever it was writing.
        await living.kill('SIGSTOP');
        frozen.push(living);
        freezes++;
      }
      living = next;
      const sleeper = frozen.length > 1 ? frozen.shift() : undefined;
      if (sleeper) await sleeper.kill('SIGCONT');
    }
    for (const sleeper of frozen) await sleeper.kill('SIGCONT');
  };

  await Promise.all([...writers.map((writer) => writer.work(ended)), read(0), read(1), kill()]);
  expect(wrong.slice(0, 10)).toEqual([]);

  await until(
    'all is archived',
    40_000,
    async () => {
      const behind: string[] = [];
      for (const { channel } of writers) {
        const [last, position] = await Promise.all([
          stage.store.hget(stage.keys.channel(channel), 'last'),
          stage.store.hget(stage.keys.positions(stage.keys.partitionOf(channel)), 'archiver'),
        ]);
        if (compareIds(position ?? ZERO, last ?? ZERO) < 0) behind.push(`${channel}: ${position} of ${last}`);
      }
      return behind;
    },
    (behind) => behind.length === 0,
  );
  // From the archive alone now, and all that was accepted is there: the same text, or none.
  for (const writer of writers) expect(await stale(writer, 0)).toEqual([]);
  const changes = writers.reduce((sum, writer) => sum + writer.changes, 0);
  process.stderr.write(
    `${changes} changes, ${reads} reads; archivers killed ${kills} times, frozen ${freezes} times\n`,
  );
  expect(Math.min(changes, reads)).toBeGreaterThan(100);
  expect(kills).toBeGreaterThan(2);
  expect(freezes).toBeGreaterThan(2);
  await Promise.all(writers.map((writer) => writer.close()));
}, 120_000);
