/**
 * Pushes, as Firebase's stand-in got them, against who was away. A user with a push token none of whose devices is there is
 * woken for each message of others: by a push for it, or for a later one (they collapse on the device, whose app fetches
 * all), and all pushes together count at least as many messages as there were.
 */
import { type Account, describe, type Write } from './account.ts';
import type { Findings } from './findings.ts';
import type { Entry } from './journal.ts';

/**
 * From `accepted` to the push: the pusher waits for 3 to 6 s; with a fault, also until somebody has a dead one's work,
 * and until the message itself is delivered, which others' devices show how late it can be.
 */
const WITHIN_MS = 10_000;
const WITHIN_FAULT_MS = 35_000;
/** From leaving until the gateway has it. */
const LEAVING_MS = 1_000;
/** One log may be delivered so much later than another; once anything was struck, by the longest stall more. */
const BEHIND_MS = 3_000;
/** From showing until the ack is stored: batches of 100 ms, and a machine under load. */
const ACK_UNDERWAY_MS = 1_000;
/** Of the pushes, may be for what was acked just then. */
const VAIN_SHARE = 0.01;
/** Of few pushes, a share says nothing. */
const VAIN_FEW = 3;

interface Push {
  at: number;
  id: string;
  count: number;
}

interface Absence {
  from: number;
  /** Until the first device begins to come back. */
  to: number;
}

export class Pushes {
  readonly #of = new Map<string, Push[]>();
  readonly #absences = new Map<string, Absence[]>();
  /** user → the devices that are there. */
  readonly #there = new Map<string, Set<number>>();
  readonly #tokens = new Set<string>();
  readonly #outages: { from: number; to: number }[] = [];
  /** Message id → when a device of a user with a token showed it first, before anything was struck. */
  readonly #shownAt = new Map<string, Map<string, number>>();
  #calm = 0;
  /** Messages to those who were away, and pushes. */
  owed = 0;
  sent = 0;
  /** For what had been acked. */
  vain = 0;

  device(user: string, device: number): void {
    this.#there.set(user, (this.#there.get(user) ?? new Set()).add(device));
  }

  token(user: string): void {
    this.#tokens.add(user);
  }

  /** `calm`: nothing was struck yet. */
  shown(user: string, id: string, at: number, calm: boolean): void {
    if (!calm || !this.#tokens.has(user)) return;
    const shownAt = this.#shownAt.get(user) ?? new Map<string, number>();
    this.#shownAt.set(user, shownAt);
    if (!shownAt.has(id)) shownAt.set(id, at);
  }

  pushed([, at, user, id, count]: Extract<Entry, { 0: 'pushed' }>, calm: boolean): void {
    this.sent++;
    this.#of.set(user, [...(this.#of.get(user) ?? []), { at, id, count }]);
    if (!calm) return;
    this.#calm++;
    if (at > (this.#shownAt.get(user)?.get(id) ?? at) + ACK_UNDERWAY_MS) this.vain++;
  }

  left(user: string, device: number, at: number): void {
    const there = this.#there.get(user)!;
    there.delete(device);
    if (there.size > 0) return;
    this.#absences.set(user, [...(this.#absences.get(user) ?? []), { from: at, to: Number.POSITIVE_INFINITY }]);
  }

  coming(user: string, device: number, at: number): void {
    const there = this.#there.get(user)!;
    if (there.size === 0) this.#absences.get(user)!.at(-1)!.to = at;
    there.add(device);
  }

  /** While partitions are down nobody can say who is owed what. */
  outage(at: number, down: boolean): void {
    if (down) this.#outages.push({ from: at, to: Number.POSITIVE_INFINITY });
    else if (this.#outages.length > 0) this.#outages.at(-1)!.to = at;
  }

  judge(account: Account, findings: Findings): void {
    const writes = account.writes.filter((write) => write?.seq > 0);
    const byId = new Map(writes.map((write) => [write.id, write]));
    for (const [user, pushes] of this.#of) {
      for (const { at, id } of pushes) {
        const write = byId.get(id);
        if (!this.#tokens.has(user)) findings.add('pushedWrongly', `${user} has no token, at ${at} ms`);
        if (write?.user === user)
          findings.add('pushedWrongly', `${describe(write)}: its sender was woken at ${at} ms`, write.phase);
      }
    }
    if (this.vain > Math.max(VAIN_FEW, this.#calm * VAIN_SHARE)) {
      const what = `${this.vain} of ${this.#calm} pushes, before anything was struck, were for what had been acked`;
      findings.add('pushedWrongly', what);
    }
    const messages = writes.filter(({ verb }) => verb === 'send');
    const calmUntil = account.phases[1]?.from ?? Number.POSITIVE_INFINITY;
    const isCalm = ({ doneAt }: Write) => doneAt + WITHIN_MS < calmUntil;
    const stallOf = (write: Write) => (isCalm(write) ? 0 : account.phases[write.phase]!.longestStallMs);
    const withinOf = (write: Write) =>
      isCalm(write) ? WITHIN_MS : Math.max(WITHIN_FAULT_MS, WITHIN_MS + stallOf(write));
    for (const user of this.#tokens) {
      const others = messages.filter((write) => {
        return write.user !== user && account.channels.get(write.channel)?.includes(user) === true;
      });
      for (const { from, to } of this.#absences.get(user) ?? []) {
        if (account.rewinds.touch(user, from, to)) continue;
        if (this.#outages.some((outage) => outage.from <= to && from <= outage.to)) continue;
        const owed = others.filter((write) => write.at > from + LEAVING_MS && write.doneAt + withinOf(write) < to);
        this.owed += owed.length;
        const pushes = (this.#of.get(user) ?? []).filter(({ at }) => from <= at && at <= to + LEAVING_MS);
        const latest = Math.max(0, ...pushes.map(({ id }) => byId.get(id)?.doneAt ?? 0));
        for (const write of owed) {
          if (write.at > latest) findings.add('unpushed', `${user}: ${describe(write)}`, write.phase);
        }
        // Those that come long after the last one owed are for others.
        const last = Math.max(0, ...owed.map((write) => write.doneAt + BEHIND_MS + stallOf(write)));
        const beyond = pushes.findIndex(({ id }) => (byId.get(id)?.doneAt ?? 0) > last);
        const theirs = beyond < 0 ? pushes : pushes.slice(0, beyond + 1);
        const count = theirs.reduce((sum, push) => sum + push.count, 0);
        if (count < owed.length)
          findings.add(
            'unpushed',
            `${user} from ${from} to ${to} ms: ${owed.length} messages, and pushes for ${count}`,
          );
      }
    }
  }
}
