/**
 * Open-loop load and its ledger: every message has a number, which its client id carries; the ledger knows when it was
 * meant to be sent, who should get it, and what became of it.
 *
 * Latency counts from the intended time of the send, not from when the generator got round to it, so a server that makes
 * the generator wait does not hide that (no coordinated omission).
 */
import hdr from 'hdr-histogram-js';
import { type Client, Fleet } from './fleet.ts';
import { Hops } from './hops.ts';
import type { Load, LoadResult, Quantiles, Range, ReturnResult, Target, Verdict } from './orders.ts';

const CONTENT_BYTES = 500;
/**
 * Everyone writes with four others, in both directions. Odd and even distances: half of the messages cross from one gateway
 * to the other. Nobody writes to themselves.
 */
const NEIGHBOURS = [1, 250, -1, -250];
/** What the client library adds, by lot, to the time after which it may send something again. */
const RETRY_WITHIN_MS = 200;
/** A message that is shown later than this was held up by something. */
const LATE_MS = 1000;

/** Who stands that far from `at` in a ring of `size`, which may be smaller than the distance. */
export function neighbour(at: number, distance: number, size: number): number {
  return (((at + distance) % size) + size) % size;
}

class Ledger {
  readonly base: number;
  count = 0;
  readonly intended: Float64Array;
  readonly left: Float64Array;
  readonly sender: Int32Array;
  readonly recipient: Int32Array;
  readonly frames: string[] = [];
  readonly expected: Uint16Array;
  readonly received: Uint16Array;
  /** 0 not sent, 1 sent, 2 accepted, 3 refused. */
  readonly state: Uint8Array;
  sent = 0;
  /** On their way, without an answer. */
  unanswered = 0;
  accepted = 0;
  receivedTotal = 0;
  duplicates = 0;
  stray = 0;
  errors: Record<string, number> = {};
  gaps = 0;
  windowFrom = Number.POSITIVE_INFINITY;
  windowTo = Number.POSITIVE_INFINITY;
  sentInWindow = 0;
  receivedInWindow = 0;
  /** When the last message that was late was shown. */
  lateUntil = Number.NEGATIVE_INFINITY;
  readonly acceptedTimes = histogram();
  readonly receivedTimes = histogram();
  readonly lateness = histogram();
  readonly hops = new Hops();

  constructor(base: number, capacity: number) {
    this.base = base;
    this.intended = new Float64Array(capacity);
    this.left = new Float64Array(capacity);
    this.sender = new Int32Array(capacity);
    this.recipient = new Int32Array(capacity);
    this.expected = new Uint16Array(capacity);
    this.received = new Uint16Array(capacity);
    this.state = new Uint8Array(capacity);
  }

  /** Where the ledger has this number; -1: none of ours. */
  indexOf(number: number): number {
    const n = number - this.base;
    return n >= 0 && n < this.count ? n : -1;
  }
}

export class Traffic {
  readonly fleet: Fleet;
  #ledger = new Ledger(0, 0);
  #next = 0;
  readonly #outboxes = new Map<Client, number[]>();
  readonly #contents = Array.from({ length: 64 }, () => noise(CONTENT_BYTES));

  constructor() {
    this.fleet = new Fleet({
      message: (client, head) => this.#message(client, head),
      accepted: (_, head) => this.#accepted(head),
      error: (client, head) => this.#error(client, head),
      live: (client) => this.#live(client),
      gap: () => this.#ledger.gaps++,
    });
  }

  /** `mark` is told when the window begins and ends. */
  async run(load: Load, mark: (event: 'begin' | 'end') => void): Promise<LoadResult> {
    const total = load.warmS + load.seconds;
    const capacity = Math.ceil(load.rate * total * 1.1 + 1000);
    const ledger = new Ledger(this.#next, capacity);
    this.#ledger = ledger;
    this.fleet.reconnects = 0;
    const start = performance.now() + 20;
    const end = start + total * 1000;
    ledger.windowFrom = start + load.warmS * 1000;
    ledger.windowTo = end;
    let due = start;
    let begun = false;
    let cpu = process.cpuUsage();
    await new Promise<void>((resolve) => {
      const tick = () => {
        const now = performance.now();
        if (!begun && now >= ledger.windowFrom) {
          begun = true;
          cpu = process.cpuUsage();
          mark('begin');
        }
        while (due <= now && due < end && ledger.count < capacity) {
          this.#plan(ledger, load.target, due, now);
          due += (-Math.log(1 - Math.random()) * 1000) / load.rate;
        }
        this.fleet.tick(now);
        if (now < end) return;
        clearInterval(clock);
        resolve();
      };
      const clock = setInterval(tick, 1);
    });
    cpu = process.cpuUsage(cpu);
    mark('end');
    this.#next += ledger.count;
    const settled = () => (load.settle === 'accepted' ? this.#answered() : this.#answered() && this.#complete());
    await this.#until(settled, load.settleS);
    const hops = ledger.hops.times();
    return {
      verdict: this.verdict(),
      ...(hops && { hops }),
      window: {
        seconds: load.seconds,
        sent: ledger.sentInWindow,
        received: ledger.receivedInWindow,
        cpuMicros: cpu.user + cpu.system,
      },
      accepted: quantiles(ledger.acceptedTimes),
      received: quantiles(ledger.receivedTimes),
      lateForMs: Math.max(0, ledger.lateUntil - ledger.windowFrom),
      lateness: quantiles(ledger.lateness),
    };
  }

  /** All at once; complete when every message of the ledger is where it belongs. */
  async comeBack([from, to]: Range, timeoutS: number): Promise<ReturnResult> {
    const start = performance.now();
    await Promise.all(this.fleet.clients.slice(from, to).map((client) => this.fleet.open(client)));
    const up = performance.now();
    const complete = await this.#until(() => this.#complete(), timeoutS);
    return { upMs: up - start, completeMs: performance.now() - start, complete, verdict: this.verdict() };
  }

  verdict(): Verdict {
    const l = this.#ledger;
    const verdict: Verdict = {
      sent: l.sent,
      accepted: l.accepted,
      received: l.receivedTotal,
      expected: 0,
      lost: 0,
      duplicates: l.duplicates,
      stray: l.stray,
      unanswered: 0,
      errors: l.errors,
      reconnects: this.fleet.reconnects,
      gaps: l.gaps,
    };
    for (let n = 0; n < l.count; n++) {
      const expected = l.expected[n] ?? 0;
      const state = l.state[n];
      if (state === 2) {
        verdict.expected += expected;
        verdict.lost += Math.max(0, expected - (l.received[n] ?? 0));
      } else if (state !== 3) verdict.unanswered++;
    }
    return verdict;
  }

  #plan(ledger: Ledger, target: Target, due: number, now: number): void {
    const n = ledger.count++;
    const { clients, dialect } = this.fleet;
    let sender: Client | undefined;
    let address: string;
    if (target.kind === 'groups') {
      const group = target.groups[Math.floor(Math.random() * target.groups.length)]!;
      const [from, to] = group.members;
      sender = clients[from + Math.floor(Math.random() * (to - from))];
      ledger.expected[n] = to - from - 1;
      ledger.recipient[n] = -1;
      address = dialect.toChannel(group.channel);
    } else {
      const [from, to] = target.from;
      const size = to - from;
      // The first messages begin each conversation: what is measured are those that go on.
      const begins = n < 2 * size && due < ledger.windowFrom;
      const at = begins ? n % size : Math.floor(Math.random() * size);
      sender = clients[from + at];
      const distance = NEIGHBOURS[begins ? Math.floor(n / size) : n & 3]!;
      const recipient = target.to
        ? target.to[0] + (n % (target.to[1] - target.to[0]))
        : from + neighbour(at, distance, size);
      ledger.expected[n] = 1;
      ledger.recipient[n] = recipient;
      address = dialect.toUser(clients[recipient]!.user);
    }
    if (!sender) throw new Error('no such sender: connect the clients first');
    ledger.intended[n] = due;
    ledger.sender[n] = sender.index;
    ledger.frames[n] = dialect.send(ledger.base + n, address, this.#contents[n & 63]!);
    ledger.lateness.recordValue(micros(now - due));
    if (due >= ledger.windowFrom) ledger.sentInWindow++;
    ledger.sent++;
    if (sender.state === 'live') this.#send(sender, n);
    else {
      const outbox = this.#outboxes.get(sender);
      if (outbox) outbox.push(n);
      else this.#outboxes.set(sender, [n]);
    }
  }

  #send(sender: Client, n: number): void {
    const ledger = this.#ledger;
    if (ledger.state[n] === 0) ledger.unanswered++;
    ledger.state[n] = 1;
    sender.heardOfAt = performance.now();
    ledger.left[n] = sender.heardOfAt;
    sender.wire?.send(ledger.frames[n] ?? '');
  }

  /** What was not answered goes out again under its client id, then what had to wait. */
  #live(client: Client): void {
    const ledger = this.#ledger;
    // With nothing to be found, 10,000 clients would look through 200,000 messages each.
    for (let n = 0; ledger.unanswered > 0 && n < ledger.count; n++) {
      if (ledger.state[n] === 1 && ledger.sender[n] === client.index) this.#send(client, n);
    }
    const outbox = this.#outboxes.get(client);
    this.#outboxes.delete(client);
    for (const n of outbox ?? []) if (ledger.state[n] === 0) this.#send(client, n);
  }

  #message(client: Client, head: string): void {
    const now = performance.now();
    const l = this.#ledger;
    const n = l.indexOf(this.fleet.dialect.number(head));
    if (n < 0 || (l.recipient[n] !== -1 && l.recipient[n] !== client.index)) {
      l.stray++;
      return;
    }
    const times = (l.received[n] ?? 0) + 1;
    l.received[n] = times;
    if (times > (l.expected[n] ?? 0)) {
      l.duplicates++;
      return;
    }
    l.receivedTotal++;
    if (now >= l.windowFrom && now <= l.windowTo) l.receivedInWindow++;
    const intended = l.intended[n] ?? 0;
    if (intended < l.windowFrom) return;
    l.receivedTimes.recordValue(micros(now - intended));
    if (now - intended > LATE_MS) l.lateUntil = now;
    const appended = this.fleet.dialect.appendedAt(head);
    if (appended > 0) {
      const [due, left, shown] = [intended, l.left[n] ?? 0, now].map((at) => performance.timeOrigin + at) as [
        number,
        number,
        number,
      ];
      l.hops.add({ due, left, appended, delivered: Number.parseInt(client.offset, 10), shown });
    }
  }

  #accepted(head: string): void {
    const l = this.#ledger;
    const n = l.indexOf(this.fleet.dialect.number(head));
    if (n < 0 || l.state[n] === 2) return;
    if (l.state[n] === 1) l.unanswered--;
    l.state[n] = 2;
    l.frames[n] = '';
    l.accepted++;
    const intended = l.intended[n] ?? 0;
    if (intended >= l.windowFrom) l.acceptedTimes.recordValue(micros(performance.now() - intended));
  }

  #error(client: Client, head: string): void {
    const l = this.#ledger;
    const code = this.fleet.dialect.code(head);
    l.errors[code] = (l.errors[code] ?? 0) + 1;
    const n = l.indexOf(this.fleet.dialect.number(head));
    if (n < 0) return;
    const retryAfterMs = this.fleet.dialect.retryAfterMs(head);
    if (retryAfterMs !== undefined) {
      const again = () => {
        // Who is away sends everything that was not answered once they are back.
        if (l === this.#ledger && l.state[n] === 1 && client.state === 'live') this.#send(client, n);
      };
      setTimeout(again, retryAfterMs + Math.random() * RETRY_WITHIN_MS);
      return;
    }
    if (l.state[n] === 1) l.unanswered--;
    l.state[n] = 3;
  }

  #answered(): boolean {
    const l = this.#ledger;
    for (let n = 0; n < l.count; n++) if ((l.state[n] ?? 0) < 2) return false;
    return true;
  }

  #complete(): boolean {
    const l = this.#ledger;
    for (let n = 0; n < l.count; n++) {
      if (l.state[n] === 2 && (l.received[n] ?? 0) < (l.expected[n] ?? 0)) return false;
    }
    return true;
  }

  /** False when the time ran out. Acks go on meanwhile. */
  #until(done: () => boolean, timeoutS: number): Promise<boolean> {
    const deadline = performance.now() + timeoutS * 1000;
    return new Promise((resolve) => {
      let rounds = 0;
      const clock = setInterval(() => {
        const now = performance.now();
        this.fleet.tick(now);
        if (rounds++ % 5 !== 0) return;
        const ok = done();
        if (!ok && now < deadline) return;
        clearInterval(clock);
        resolve(ok);
      }, 2);
    });
  }
}

function histogram() {
  return hdr.build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 120_000_000,
    numberOfSignificantValueDigits: 3,
  });
}

function micros(ms: number): number {
  return Math.max(1, Math.round(ms * 1000));
}

function quantiles(h: ReturnType<typeof histogram>): Quantiles {
  const at = (p: number) => (h.totalCount === 0 ? 0 : h.getValueAtPercentile(p) / 1000);
  return { p50: at(50), p99: at(99), p999: at(99.9), max: at(100) };
}

export function noise(length: number): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,-';
  return Array.from({ length }, () => alphabet[Math.floor(Math.random() * alphabet.length)]).join('');
}
