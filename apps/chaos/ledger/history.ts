/** The archive against the ledger, channel by channel; and from both, what every device has to have shown. */
import type { Archive, ArchiveRow } from '../../../lib/archive/index.ts';
import { type Account, type DeviceAccount, describe } from './account.ts';
import type { Findings } from './findings.ts';
import { numberOf, textOf } from './journal.ts';

const PAGE = 1000;

export async function rowsOf(archive: Archive, channel: string): Promise<ArchiveRow[]> {
  const rows: ArchiveRow[] = [];
  for (;;) {
    const page = await archive.page(channel, { after: rows.at(-1)?.seq ?? 0, limit: PAGE, order: 'oldest' });
    rows.push(...page);
    if (page.length < PAGE) return rows;
  }
}

/** All that is known of one channel. */
export class ChannelHistory {
  readonly channel: string;
  readonly rows: readonly ArchiveRow[];
  /** Accepted, and gone with a Redis that lost everything. */
  forgotten = 0;
  readonly #bySeq = new Map<number, ArchiveRow>();
  readonly #deleted = new Set<number>();
  /** Target → the texts that it was given by edits, the latest last. */
  readonly #edits = new Map<number, string[]>();
  readonly #account: Account;
  readonly #findings: Findings;

  constructor(channel: string, rows: readonly ArchiveRow[], account: Account, findings: Findings) {
    this.channel = channel;
    this.rows = rows;
    this.#account = account;
    this.#findings = findings;
    for (const row of rows) {
      this.#bySeq.set(row.seq, row);
      const target = row.target?.seq ?? 0;
      if (row.type === 'deleted') this.#deleted.add(target);
      const n = numberOf(row.clientId);
      if (row.type === 'edited' && n !== null) this.#edits.set(target, [...(this.#edits.get(target) ?? []), textOf(n)]);
    }
  }

  #mayBeGone(seq: number): boolean {
    return this.#account.losses.mayTake(this.channel, seq);
  }

  judge(): void {
    this.#judgeRows();
    this.#judgeChanges();
    const first = this.#account.channels.get(this.channel) ?? [];
    const users = new Set([
      ...first,
      ...this.#account.changes.filter((c) => c.channel === this.channel).map((c) => c.user),
    ]);
    for (const [index, device] of this.#account.devices.entries()) {
      if (users.has(device.user)) this.#judgeDevice(device, index);
      else if (device.shown.has(this.channel))
        this.#findings.add('strange', `${device.name} was shown ${this.channel}`);
    }
  }

  #judgeRows(): void {
    const { channel } = this;
    const seen = new Map<number, number[]>();
    let last = 0;
    for (const row of this.rows) {
      const gone = row.seq > last + 1 && this.#account.losses.mayTakeAll(channel, last + 1, row.seq - 1);
      if (row.seq !== last + 1 && !gone) this.#findings.add('holes', `${channel}: ${row.seq} comes after ${last}`);
      last = row.seq;
      const n = numberOf(row.clientId);
      const write = n === null ? undefined : this.#account.writes[n];
      if (n === null || !write) {
        const known = ['created', 'member', 'renamed'].includes(row.type);
        if (!known)
          this.#findings.add('archivedWrong', `${channel} ${row.seq}: ${row.type} ${row.clientId} is nobody's`);
        continue;
      }
      // Asked for again after the loss; the first of the two may or may not have been archived.
      const again = this.#mayBeGone(row.seq) || [...(seen.get(n) ?? [])].some((seq) => this.#mayBeGone(seq));
      if (seen.has(n) && !again)
        this.#findings.add('archivedTwice', `${describe(write)}, and as ${row.seq}`, write.phase);
      seen.set(n, [...(seen.get(n) ?? []), row.seq]);
      const wrong = this.#wrongWith(row, n);
      if (wrong) this.#findings.add('archivedWrong', `${describe(write)}: ${wrong}`, write.phase);
    }
    for (const write of this.#account.accepted.get(channel)?.values() ?? []) {
      const row = this.#bySeq.get(write.seq);
      if (row?.id === write.id && numberOf(row.clientId) === write.n) continue;
      if (!row && this.#mayBeGone(write.seq)) {
        this.forgotten++;
        continue;
      }
      const instead = row ? `${row.type} ${row.clientId} (${row.id}) instead` : 'nothing';
      this.#findings.add('notArchived', `${describe(write)}: ${instead}`, write.phase);
    }
    for (const write of this.#account.displaced) {
      if (write.channel !== channel || this.rows.some(({ id }) => id === write.id)) continue;
      this.#findings.add('notArchived', `${describe(write)}: its number is another one's`, write.phase);
    }
  }

  #wrongWith(row: ArchiveRow, n: number): string | undefined {
    const write = this.#account.writes[n]!;
    const type = { send: 'message', edit: 'edited', delete: 'deleted' }[write.verb];
    if (row.type !== type) return `it is ${row.type} there`;
    if (row.from !== write.user) return `it is by ${row.from} there`;
    if ((row.target?.seq ?? 0) !== write.target) return `it changes ${row.target?.seq} there, not ${write.target}`;
    if (row.type === 'deleted') return undefined;
    const deleted = this.#deleted.has(row.type === 'edited' ? write.target : row.seq);
    if (deleted) {
      if (row.content) return `it was deleted, and says ${row.content}`;
      return row.type === 'message' && row.deleted !== true ? 'it was deleted, and is not marked so' : undefined;
    }
    const text = row.type === 'edited' ? textOf(n) : (this.#edits.get(row.seq)?.at(-1) ?? textOf(n));
    return row.content === text ? undefined : `it says ${JSON.stringify(row.content)}, not ${JSON.stringify(text)}`;
  }

  /**
   * Each change that was answered has its event, in the order in which they were made; but for what a loss may have taken,
   * and for what then changed nothing. One guest a channel: they are in after `added` and out after `removed`.
   */
  #judgeChanges(): void {
    const shown = this.rows.filter((row) => row.type === 'member').map((row) => event(row));
    const made = this.#account.changes.filter((c) => c.channel === this.channel && c.done);
    // How many of the events may have been made by then.
    let reached = new Set([0]);
    for (const { user, action, inDoubt } of made) {
      const next = new Set<number>();
      for (const count of reached) {
        const isIn = shown[count - 1]?.action === 'added';
        const changes = isIn === (action === 'removed');
        if (!changes || inDoubt) next.add(count);
        const e = shown[count];
        if (changes && e?.user === user && e.action === action) next.add(count + 1);
      }
      reached = next;
    }
    if (!reached.has(shown.length)) {
      this.#findings.add('members', `${this.channel}: made ${made.length} changes, and there are ${shown.length}`);
    }
  }

  /** Where the user was a member: from and to, both included. */
  #intervals(user: string): [from: number, to: number][] {
    const intervals: [number, number][] = [];
    const end = this.rows.at(-1)?.seq ?? 0;
    if (this.#account.channels.get(this.channel)?.includes(user)) intervals.push([1, end]);
    for (const row of this.rows) {
      if (row.type !== 'member') continue;
      const change = event(row);
      if (change.user !== user) continue;
      if (change.action === 'added') intervals.push([row.seq, end]);
      else if (change.action === 'removed') {
        const open = intervals.at(-1);
        if (open) open[1] = row.seq; // else their joining is missing, which is told elsewhere
      }
    }
    return intervals;
  }

  #judgeDevice(device: DeviceAccount, index: number): void {
    const { channel } = this;
    const { stays } = this.#account;
    const showing = device.shown.get(channel);
    const intervals = this.#intervals(device.user);
    const stayOf = (seq: number) => intervals.findIndex(([from, to]) => from <= seq && seq <= to);
    for (const row of this.rows) {
      const { seq } = row;
      const stay = stayOf(seq);
      if (stay < 0) continue;
      const n = numberOf(row.clientId);
      const write = n === null ? undefined : this.#account.writes[n];
      const name = () => `${device.name}: ${channel} ${seq} (${write ? describe(write) : row.type})`;
      // The device that wrote it has it from its `accepted`.
      const own = write !== undefined && write.device >= 0 && this.#account.devices[write.device] === device;
      const rewound = this.#account.rewinds.touch(device.user, write?.at ?? 0, write?.at ?? Number.POSITIVE_INFINITY);
      const sent = device.wire.has(channel, seq) || stays.excuses(index, channel, seq, stay, { unsent: true });
      if (!rewound && !own && !sent) this.#findings.add('unsent', name(), write?.phase);
      const id = showing?.ids.get(seq);
      if (id !== undefined) {
        if (id !== row.id) this.#findings.add('strange', `${name()}: shown as ${id}`, write?.phase);
        continue;
      }
      // It may have come to the archive after a loss, when history had been read.
      if (own || this.#mayBeGone(seq) || stays.excuses(index, channel, seq, stay)) continue;
      this.#findings.add('lost', name(), write?.phase);
    }
    if (!showing) return;
    const outside = [...showing.times.keys()].filter((seq) => stayOf(seq) < 0 && !this.#mayBeGone(seq)).length;
    if (outside > 0)
      this.#findings.add('strange', `${device.name}: ${outside} of ${channel} outside of its membership`);
    for (const { seq, n, type, text } of showing.odd) {
      const target = type === 'edited' ? (this.#bySeq.get(seq)?.target?.seq ?? 0) : seq;
      const right =
        (text === '' ? this.#deleted.has(target) : type === 'message' && this.#edits.get(seq)?.includes(text)) ||
        this.#mayBeGone(seq) ||
        this.#wasChanged(seq, text);
      if (!right)
        this.#findings.add('strange', `${device.name}: ${channel} ${seq} said ${text}`, this.#account.writes[n]?.phase);
    }
  }

  /** By an edit or a deletion that may be gone. */
  #wasChanged(target: number, text: string): boolean {
    for (const write of this.#account.accepted.get(this.channel)?.values() ?? []) {
      if (write.target !== target || !this.#mayBeGone(write.seq)) continue;
      if (write.verb === 'delete' ? text === '' : text === textOf(write.n)) return true;
    }
    return false;
  }
}

function event(row: ArchiveRow): { user: string; action: string } {
  return JSON.parse(row.data ?? '{}') as { user: string; action: string };
}
