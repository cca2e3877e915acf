/**
 * What must come of a run, kept outside of what is tested: every send is written down before it leaves, every `accepted`,
 * and every message that a device showed. The verdict compares them, and the archive with both.
 */

import type { Archive, ArchiveRow } from '../../lib/archive/index.ts';
import type { Message, MillraceClient } from '../../lib/client/index.ts';

export interface Accepted {
  channel: string;
  from: string;
  device: string;
  seq: number;
  id: string;
}

export interface Verdict {
  sent: number;
  accepted: number;
  /** Devices that had to show a message, over all the messages. */
  showings: number;
  refused: string[];
  lost: string[];
  outOfOrder: string[];
  shownTwice: string[];
  /** Shown to somebody who is not a member, or never accepted and yet seen. */
  strange: string[];
  notArchived: string[];
}

interface Device {
  user: string;
  device: string;
  shown: Map<string, number>;
  /** By channel. */
  last: Map<string, number>;
}

export class Ledger {
  readonly #channels = new Map<string, ReadonlySet<string>>();
  readonly #devices: Device[] = [];
  readonly #sent = new Map<string, { channel: string; from: string; device: string }>();
  readonly #accepted = new Map<string, Accepted>();
  readonly #pending = new Set<Promise<void>>();
  readonly #refused: string[] = [];
  readonly #outOfOrder: string[] = [];
  readonly #shownTwice: string[] = [];
  readonly #strange: string[] = [];
  #seed = 0;
  #showings = 0;

  channel(channel: string, members: Iterable<string>): void {
    this.#channels.set(channel, new Set(members));
  }

  /** Before it connects. */
  device(client: MillraceClient, user: string, device: string): void {
    const mine: Device = { user, device, shown: new Map(), last: new Map() };
    this.#devices.push(mine);
    client.on('message', (message) => this.#show(mine, message));
  }

  #show(mine: Device, { channel, seq, id }: Message): void {
    const name = `${mine.user}/${mine.device}: ${channel} ${seq} (${id})`;
    this.#showings++;
    if (mine.shown.has(id)) this.#shownTwice.push(name);
    mine.shown.set(id, seq);
    const last = mine.last.get(channel) ?? 0;
    if (seq <= last) this.#outOfOrder.push(`${name} after ${last}`);
    mine.last.set(channel, Math.max(seq, last));
    if (!this.#channels.get(channel)?.has(mine.user)) this.#strange.push(name);
  }

  /** Sends, and remembers it first. The client repeats until it is accepted. */
  send(client: MillraceClient, from: string, device: string, channel: string, padding = 100): void {
    const key = `${++this.#seed}`;
    this.#sent.set(key, { channel, from, device });
    const done = client.send({ channel, content: `${key} ${'x'.repeat(padding)}` }).then(
      ({ seq, id }) => void this.#accepted.set(key, { channel, from, device, seq, id }),
      (error: unknown) => void this.#refused.push(`${key} ${channel} ${from}: ${String(error)}`),
    );
    this.#pending.add(done);
    void done.then(() => this.#pending.delete(done));
  }

  get sent(): number {
    return this.#sent.size;
  }

  get accepted(): number {
    return this.#accepted.size;
  }

  get acceptances(): readonly Accepted[] {
    return [...this.#accepted.values()];
  }

  get pending(): number {
    return this.#pending.size;
  }

  get showings(): number {
    return this.#showings;
  }

  /** Showings that are still to come. */
  missing(): string[] {
    const missing: string[] = [];
    for (const [key, a] of this.#accepted) {
      for (const { user, device, shown } of this.#devices) {
        if (!this.#channels.get(a.channel)?.has(user) || (user === a.from && device === a.device)) continue;
        if (!shown.has(a.id)) missing.push(`${user}/${device}: ${key} ${a.channel} ${a.seq} (${a.id})`);
      }
    }
    return missing;
  }

  /** Archived exactly once: each channel's rows are dense from 1, and each accepted message is its seq's row. */
  async notArchived(archive: Archive): Promise<string[]> {
    const wrong: string[] = [];
    for (const channel of this.#channels.keys()) {
      const mine = [...this.#accepted].filter(([, a]) => a.channel === channel);
      const rows: ArchiveRow[] = [];
      for (let after = 0; ; after = rows.length) {
        const page = await archive.page(channel, { after, limit: 200, order: 'oldest' });
        rows.push(...page);
        if (page.length === 0) break;
        if (rows.at(-1)?.seq !== rows.length) return [`${channel}: seq ${rows.at(-1)?.seq} in row ${rows.length}`];
      }
      for (const [key, a] of mine) {
        const row = rows[a.seq - 1];
        if (row?.id !== a.id || !row.content?.startsWith(`${key} `)) {
          wrong.push(`${channel} ${a.seq}: accepted ${a.id} (${key}), archived ${row?.id ?? 'nothing'}`);
        }
      }
      const messages = rows.filter((row) => row.type === 'message').length;
      if (messages > mine.length) wrong.push(`${channel}: ${messages} messages archived, ${mine.length} accepted`);
    }
    return wrong;
  }

  async verdict(archive: Archive): Promise<Verdict> {
    const ids = new Set([...this.#accepted.values()].map((a) => a.id));
    const unaccepted = this.#devices.flatMap(({ user, device, shown }) =>
      [...shown.keys()].filter((id) => !ids.has(id)).map((id) => `${user}/${device}: ${id} was never accepted`),
    );
    return {
      sent: this.sent,
      accepted: this.accepted,
      showings: this.#showings,
      refused: this.#refused,
      lost: this.missing(),
      outOfOrder: this.#outOfOrder,
      shownTwice: this.#shownTwice,
      strange: [...this.#strange, ...unaccepted],
      notArchived: await this.notArchived(archive),
    };
  }
}

/** Counts for people, and the first few of what is wrong. */
export function summary(verdict: Verdict): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(verdict).map(([name, value]) => [
      name,
      Array.isArray(value) ? (value.length === 0 ? 0 : `${value.length}: ${value.slice(0, 3).join('; ')}`) : value,
    ]),
  );
}
