/** The ledger as it is read back: what was written, and what each device showed, in the order of the file. */
import type { Tick } from '../../../lib/client/index.ts';
import type { Findings } from './findings.ts';
import { type Entry, readJournal, type Verb } from './journal.ts';
import { Losses } from './losses.ts';
import { Pushes } from './pushes.ts';
import { Rewinds } from './rewinds.ts';
import { Spared } from './spared.ts';
import { Stays } from './stays.ts';
import { Watermarks } from './watermarks.ts';
import { Wire } from './wire.ts';

export interface Write {
  n: number;
  at: number;
  phase: number;
  verb: Verb;
  channel: string;
  user: string;
  /** -1: over HTTP. */
  device: number;
  target: number;
  /** 0 until it is accepted. */
  seq: number;
  doneAt: number;
  id: string;
  refused: boolean;
}

export interface Showing {
  /** seq → how often. */
  times: Map<number, number>;
  /** seq → the id under which it was shown. */
  ids: Map<number, string>;
  /** What was shown with another text than its own. */
  odd: { seq: number; n: number; type: string; text: string }[];
  last: number;
}

export interface DeviceAccount {
  name: string;
  user: string;
  shown: Map<string, Showing>;
  wire: Wire;
  gaps: number;
  /** Since when it has been there without leaving on purpose; Infinity while it is away. */
  since: number;
}

export interface Phase {
  name: string;
  from: number;
  accepted: number;
  longestStallMs: number;
}

const ADDED = 'added ';
/** A gateway's sweep, by which sessions are registered again when all was lost. */
const REGISTERED_AGAIN_MS = 35_000;

export class Account {
  readonly phases: Phase[] = [{ name: 'none', from: 0, accepted: 0, longestStallMs: 0 }];
  readonly devices: DeviceAccount[] = [];
  /** channel → its first members. */
  readonly channels = new Map<string, readonly string[]>();
  /** By number; a hole for the numbers of membership changes. */
  readonly writes: Write[] = [];
  /** channel → seq → who was told that it is theirs. */
  readonly accepted = new Map<string, Map<number, Write>>();
  /** Accepted under a number that was given to another one later. */
  readonly displaced: Write[] = [];
  readonly watermarks = new Watermarks();
  readonly changes: { channel: string; user: string; action: string; done: boolean; inDoubt: boolean }[] = [];
  readonly ticks: { device: number; channel: string; seq: number; tick: Tick }[] = [];
  readonly #changeOf = new Map<number, (typeof this.changes)[number] & { at: number; doneAt: number }>();
  readonly spared: Spared;
  readonly losses = new Losses();
  readonly rewinds: Rewinds;
  readonly pushes = new Pushes();
  readonly stays = new Stays();
  showings = 0;

  private constructor(partitions: number) {
    this.spared = new Spared(partitions);
    this.rewinds = new Rewinds(partitions);
  }

  static async read(file: string, findings: Findings, partitions: number): Promise<Account> {
    const account = new Account(partitions);
    for await (const entry of readJournal(file)) account.#take(entry, findings);
    for (const change of account.#changeOf.values()) {
      change.inDoubt = change.done && account.losses.mayTakeWhatWas(change.at, change.doneAt);
    }
    account.watermarks.judge(account.writes, (device) => account.devices[device]!.name, findings);
    account.spared.judge(findings);
    account.pushes.judge(account, findings);
    account.#judgeTicks(findings);
    return account;
  }

  get #phase(): number {
    return this.phases.length - 1;
  }

  #take(entry: Entry, findings: Findings): void {
    switch (entry[0]) {
      case 'device': {
        const [, , user, device] = entry;
        this.pushes.device(user, this.devices.length);
        this.devices.push({ name: `${user}/${device}`, user, shown: new Map(), wire: new Wire(), gaps: 0, since: 0 });
        return;
      }
      case 'phase':
        this.phases.push({ name: entry[2], from: entry[1], accepted: 0, longestStallMs: 0 });
        return;
      case 'outage':
        this.spared.outage(entry[2]);
        this.pushes.outage(entry[1], (entry[2] ?? []).length > 0);
        return;
      case 'losing':
        this.losses.losing(entry[1], entry[2]);
        return;
      case 'lost':
        this.losses.lost(entry[1]);
        this.rewinds.addAll(entry[1], entry[1] + REGISTERED_AGAIN_MS);
        return;
      case 'rewound':
        this.rewinds.add(entry[3], entry[2], entry[1]);
        return;
      case 'channel':
        this.channels.set(entry[2], entry[3]);
        return;
      case 'write': {
        const [, at, n, verb, channel, user, device, target] = entry;
        const phase = this.#phase;
        this.writes[n] = {
          n,
          at,
          phase,
          verb,
          channel,
          user,
          device,
          target,
          seq: 0,
          doneAt: 0,
          id: '',
          refused: false,
        };
        this.spared.wrote(this.writes[n]);
        return;
      }
      case 'accepted':
        this.#accept(entry, findings);
        return;
      case 'refused': {
        const write = this.writes[entry[2]];
        if (write) write.refused = true;
        // What is to be changed is gone.
        if (write && this.losses.mayTake(write.channel, write.target)) return;
        findings.add('refused', `${write ? describe(write) : `change ${entry[2]}`}: ${entry[3]}`, write?.phase);
        return;
      }
      case 'shown':
        this.#show(entry, findings);
        return;
      case 'sent':
        this.devices[entry[2]]!.wire.sent(entry);
        return;
      case 'told': {
        const { user, wire, shown } = this.devices[entry[2]]!;
        wire.told(entry);
        this.stays.told(entry[2], user, new Set(entry[4].map(([channel]) => channel)), shown);
        return;
      }
      case 'barred':
        this.stays.refused(entry[2], this.devices[entry[2]]!.user, entry[3], entry[4]);
        return;
      case 'read': {
        const [, , device, channel, seq] = entry;
        this.watermarks.raise(channel, this.devices[device]!.user, { delivered: seq, read: seq });
        return;
      }
      case 'receipt':
        this.watermarks.receipt(entry);
        return;
      case 'token':
        this.pushes.token(this.devices[entry[2]]!.user);
        return;
      case 'pushed':
        this.pushes.pushed(entry, this.#phase === 0);
        return;
      case 'coming':
        this.pushes.coming(this.devices[entry[2]]!.user, entry[2], entry[1]);
        return;
      case 'left':
        this.pushes.left(this.devices[entry[2]]!.user, entry[2], entry[1]);
        this.devices[entry[2]]!.since = Number.POSITIVE_INFINITY;
        return;
      case 'back':
        this.devices[entry[2]]!.since = entry[1];
        return;
      case 'gap':
        this.devices[entry[2]]!.gaps++;
        return;
      case 'change': {
        const [, at, n, channel, user, action] = entry;
        const change = { channel, user, action, done: false, inDoubt: false, at, doneAt: 0 };
        this.changes.push(change);
        if (action === 'removed') this.stays.removing(channel, user);
        this.#changeOf.set(n, change);
        return;
      }
      case 'changed': {
        const change = this.#changeOf.get(entry[2])!;
        change.done = true;
        change.doneAt = entry[1];
        return;
      }
      case 'tick':
        this.ticks.push({ device: entry[2], channel: entry[3], seq: entry[4], tick: entry[5] });
        return;
      case 'presence':
        if (entry[4] !== 'online')
          findings.add('presence', `${entry[3]} is ${entry[4]} for ${this.devices[entry[2]]!.name}`);
        return;
      case 'error':
        findings.add('complaints', `${this.devices[entry[2]]!.name}: ${entry[3]}`, this.#phase);
        return;
    }
  }

  #accept([, at, n, channel, seq, id]: Extract<Entry, { 0: 'accepted' }>, findings: Findings): void {
    const write = this.writes[n]!;
    write.doneAt = at;
    write.seq = seq;
    write.id = id;
    this.phases[write.phase]!.accepted++;
    const bySeq = got(this.accepted, channel, () => new Map<number, Write>());
    const before = bySeq.get(seq);
    if (before) {
      findings.add('holes', `${describe(write)}: ${seq} was given to ${before.n} too`, write.phase);
      this.displaced.push(before);
    }
    bySeq.set(seq, write);
    if (channel !== write.channel) findings.add('strange', `${describe(write)}: accepted in ${channel}`, write.phase);
    // An edit or a delete is no message, and reads nothing; whether it counts as received is left open.
    if (write.verb === 'send') this.watermarks.raise(channel, write.user, { delivered: seq, read: seq });
  }

  #show([, at, index, type, channel, seq, id, n, text]: Extract<Entry, { 0: 'shown' }>, findings: Findings): void {
    const device = this.devices[index]!;
    const showing = got(device.shown, channel, (): Showing => ({ times: new Map(), ids: new Map(), odd: [], last: 0 }));
    this.showings++;
    this.pushes.shown(device.user, id, at, this.#phase === 0);
    const write = n === null ? undefined : this.writes[n];
    const name = () => `${device.name}: ${channel} ${seq} (${type} ${n ?? id})`;
    const times = (showing.times.get(seq) ?? 0) + 1;
    showing.times.set(seq, times);
    const before = got(showing.ids, seq, () => id);
    if (before !== id) findings.add('strange', `${name()}: ${before} before`, write?.phase);
    else if (times > 1) findings.add('shownTwice', name(), write?.phase);
    else if (seq <= showing.last) findings.add('outOfOrder', `${name()} after ${showing.last}`, write?.phase);
    showing.last = Math.max(seq, showing.last);
    if (n !== null && text !== undefined) showing.odd.push({ seq, n, type, text });
    this.watermarks.raise(channel, device.user, { delivered: seq, read: 0 });
    if (type === 'member' && text?.startsWith(ADDED)) this.watermarks.joined(channel, text.slice(ADDED.length), seq);
    if (!write || times > 1) return;
    // Whoever left on purpose has nobody to blame for the time.
    const phase = this.phases[write.phase]!;
    if (device.since > write.at) return;
    phase.longestStallMs = Math.max(phase.longestStallMs, at - write.at);
    this.spared.shown(write.n, device.user, this.#phase === 0, at - write.at);
  }

  #judgeTicks(findings: Findings): void {
    for (const { device, channel, seq, tick } of this.ticks) {
      const { user, name } = this.devices[device]!;
      const other = this.channels.get(channel)?.find((member) => member !== user);
      const { delivered, read } = this.watermarks.of(channel, other ?? user);
      const should: Tick = read >= seq ? 'read' : delivered >= seq ? 'delivered' : 'sent';
      if (tick !== should) findings.add('ticks', `${name}: ${channel} ${seq} has the tick ${tick}, not ${should}`);
    }
  }
}

function got<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

export function describe({ verb, n, user, channel, seq, at }: Write): string {
  return `${verb} ${n} of ${user} into ${channel}${seq > 0 ? ` (${seq})` : ''} at ${at} ms`;
}
