/** How far everybody has received and read, as the ledger is read on; and the receipts that devices were told, against it. */
import type { Write } from './account.ts';
import type { Findings } from './findings.ts';
import type { Entry } from './journal.ts';

export interface Mark {
  delivered: number;
  read: number;
}

interface Doubtful extends Mark {
  at: number;
  channel: string;
  user: string;
  device: number;
  /** What they had done by then, as far as the file tells. */
  known: Mark;
}

export class Watermarks {
  /** channel → user → what they did, as far as the file has been read. */
  readonly #marks = new Map<string, Map<string, Mark>>();
  readonly #doubtful: Doubtful[] = [];
  /** channel and user → the seqs of their joining. */
  readonly #joined = new Map<string, Set<number>>();
  /** Receipts. */
  told = 0;

  of(channel: string, user: string): Mark {
    const marks = this.#marks.get(channel) ?? new Map<string, Mark>();
    this.#marks.set(channel, marks);
    const mark = marks.get(user) ?? { delivered: 0, read: 0 };
    marks.set(user, mark);
    return mark;
  }

  raise(channel: string, user: string, { delivered, read }: Mark): void {
    const mark = this.of(channel, user);
    mark.delivered = Math.max(mark.delivered, delivered, read);
    mark.read = Math.max(mark.read, read);
  }

  /** Whoever joins has read up to there. */
  joined(channel: string, user: string, seq: number): void {
    this.raise(channel, user, { delivered: seq, read: seq });
    const key = `${channel} ${user}`;
    this.#joined.set(key, (this.#joined.get(key) ?? new Set<number>()).add(seq));
  }

  receipt([, at, device, channel, user, delivered, read]: Extract<Entry, { 0: 'receipt' }>): void {
    this.told++;
    const known = this.of(channel, user);
    if (delivered <= known.delivered && read <= known.read) return;
    // It may be by an own write whose `accepted` is still on its way.
    this.#doubtful.push({ at, channel, user, device, delivered, read, known: { ...known } });
  }

  /** A watermark may come of what its user wrote, before they know that it is accepted. */
  judge(writes: readonly Write[], nameOf: (device: number) => string, findings: Findings): void {
    if (this.#doubtful.length === 0) return;
    const accepted = writes.filter((write) => write !== undefined && write.seq > 0);
    const own = Map.groupBy(accepted, ({ channel, user }) => `${channel} ${user}`);
    for (const { at, channel, user, device, delivered, read, known } of this.#doubtful) {
      const key = `${channel} ${user}`;
      const wrote = (own.get(key) ?? []).filter((write) => write.at <= at).map(({ seq }) => seq);
      const reached = Math.max(0, ...wrote, ...(this.#joined.get(key) ?? []));
      if (delivered <= Math.max(known.delivered, reached) && read <= Math.max(known.read, reached)) continue;
      findings.add('receipts', `${nameOf(device)} at ${at} ms: ${user} had ${delivered}, read ${read} of ${channel}`);
    }
  }
}
