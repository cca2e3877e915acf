/**
 * The ledger of a run: a file to which the crowd's process appends what it did and saw, in the order in which it happened.
 * Every write stands here before it leaves. The verdict (verdict.ts) is made from this file, the archive and the
 * system's own answers, and from nothing that the crowd remembers.
 *
 * One JSON array per line. `at` is in milliseconds since the run began; a device is its index, in the order in which they
 * were introduced; `n` numbers the writes, and is in the text and the client id of each.
 */
import { createReadStream, createWriteStream, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Tick } from '../../../lib/client/index.ts';
import type { Head } from './losses.ts';

export type Verb = 'send' | 'edit' | 'delete';

export type Entry =
  | [kind: 'device', at: number, user: string, device: string]
  /** From here on, until the next one, what is written counts for this fault. */
  | [kind: 'phase', at: number, name: string]
  /** Whoever has nothing to do with these partitions must not notice anything, until the next one of these. */
  | [kind: 'outage', at: number, partitions: readonly number[] | null]
  /** Redis is about to lose everything, and has. */
  | [kind: 'losing', at: number, heads: readonly Head[]]
  | [kind: 'lost', at: number]
  /** At some time since then these partitions went back in time: their primary is another one, or was started again. */
  | [kind: 'rewound', at: number, since: number, partitions: readonly number[]]
  /** Its members when it was made; `guests` come and go. */
  | [kind: 'channel', at: number, channel: string, members: readonly string[]]
  /** Before it leaves. `device` is -1 for what goes over HTTP; `target` is the seq of what is edited or deleted, else 0. */
  | [kind: 'write', at: number, n: number, verb: Verb, channel: string, user: string, device: number, target: number]
  | [kind: 'accepted', at: number, n: number, channel: string, seq: number, id: string]
  | [kind: 'refused', at: number, n: number, why: string]
  /**
   * `n` is null for what nobody wrote (`created`, `member` …). `text`: of a write, only when it is not its own; of `member`,
   * what was done to whom.
   */
  | [
      kind: 'shown',
      at: number,
      device: number,
      type: string,
      channel: string,
      seq: number,
      id: string,
      n: number | null,
      text?: string,
    ]
  /** An event's frame as it came over the wire, whatever the client library makes of it; `session` counts the device's. */
  | [
      kind: 'sent',
      at: number,
      device: number,
      session: number,
      channel: string,
      seq: number,
      id: string,
      offset: string,
    ]
  /** A gap's frame: up to these seqs, events may be missing on the wire; and all of channels that the user has left. */
  | [kind: 'told', at: number, device: number, session: number, heads: readonly [channel: string, seq: number][]]
  | [kind: 'read', at: number, device: number, channel: string, seq: number]
  | [kind: 'receipt', at: number, device: number, channel: string, user: string, delivered: number, read: number]
  /** A device has a push token. */
  | [kind: 'token', at: number, device: number]
  /** A device of this user was woken: for this message, and so many in all. */
  | [kind: 'pushed', at: number, user: string, id: string, count: number]
  /** A device left on purpose; begins to come back; and is back when it has caught up (`live`). */
  | [kind: 'left', at: number, device: number]
  | [kind: 'coming', at: number, device: number]
  | [kind: 'back', at: number, device: number]
  | [kind: 'gap', at: number, device: number, channels: number]
  /** The channel's history after this seq was refused to it: its user is no member. What waited behind is shown before. */
  | [kind: 'barred', at: number, device: number, channel: string, after: number]
  /** A member is to be added or removed; and has been, as far as the answer says. */
  | [kind: 'change', at: number, n: number, channel: string, user: string, action: 'added' | 'removed']
  | [kind: 'changed', at: number, n: number]
  /** In the end, with everybody there: what the device shows of its user's last message, and of somebody it watches. */
  | [kind: 'tick', at: number, device: number, channel: string, seq: number, tick: Tick]
  | [kind: 'presence', at: number, device: number, user: string, status: string]
  /** What a device complained about. */
  | [kind: 'error', at: number, device: number, what: string];

/** What a write says: recognisable, and of its own. */
export function textOf(n: number): string {
  return `${n} ${'the quick brown fox jumps over the lazy dog, once more. '.slice(0, 8 + (n % 48))}`;
}

export const clientIdOf = (n: number): string => `write-${n}`;

export function numberOf(clientId: string): number | null {
  const n = Number(/^write-(\d+)$/.exec(clientId)?.[1] ?? Number.NaN);
  return Number.isNaN(n) ? null : n;
}

export class Journal {
  readonly file: string;
  readonly #stream: WriteStream;
  readonly #started = performance.now();
  #chunk: string[] = [];

  constructor(file: string) {
    this.file = file;
    this.#stream = createWriteStream(file);
  }

  get now(): number {
    return Math.round(performance.now() - this.#started);
  }

  write(entry: Entry): void {
    this.#chunk.push(JSON.stringify(entry));
    if (this.#chunk.length >= 256) this.#flush();
  }

  #flush(): void {
    if (this.#chunk.length > 0) this.#stream.write(`${this.#chunk.join('\n')}\n`);
    this.#chunk = [];
  }

  async close(): Promise<void> {
    this.#flush();
    await new Promise<void>((resolve, reject) => {
      this.#stream.once('error', reject);
      this.#stream.end(resolve);
    });
  }
}

export async function* readJournal(file: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    yield JSON.parse(line) as Entry;
  }
}
