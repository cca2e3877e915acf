/** What is wrong, by the promise that it breaks: all of it counted, the first of each kept. */

export const PROMISES = {
  lost: 'accepted, and not shown by a device of somebody who was a member',
  outOfOrder: 'shown after something later of its channel',
  shownTwice: 'shown more than once by one device',
  unsent: 'never sent to a device that no gap was told to, which had to fill the hole from history',
  sentTwice: 'sent more than once in one session',
  sentOutOfOrder: 'sent out of the order of channel or offsets in one session',
  strange: 'shown by a device of somebody who was no member, under another id, or with another text',
  refused: 'refused for good, though it was right',
  unanswered: 'neither accepted nor refused in the end',
  holes: 'sequence numbers that are nobody’s',
  notArchived: 'accepted, and not in the archive',
  archivedTwice: 'in the archive more than once',
  archivedWrong: 'in the archive with another text or state than was written',
  members: 'membership changes that the channel does not show as they were made',
  receipts: 'watermarks that say more than was received and read, or in the end less',
  ticks: 'ticks that do not say how far the other one came',
  unread: 'conversation lists whose counts or marks are wrong',
  unpushed: 'to somebody who was away with all devices, and no push woke them for it',
  pushedWrongly:
    'pushes to one without a token, for one’s own message, or, more than one in a hundred, for what is acked',
  presence: 'people who are connected, and read as offline',
  noticed: 'outages of some shards that those on the others noticed',
  complaints: 'what devices and processes complained about',
} as const;

export type Promised = keyof typeof PROMISES;

/** Of those counted by fault, the phase in which it was written. */
export class Findings {
  readonly #kept = new Map<Promised, string[]>();
  readonly #counts = new Map<string, number>();
  static readonly KEPT = 20;

  add(promise: Promised, what: string, phase?: number): void {
    const kept = this.#kept.get(promise) ?? [];
    if (kept.length < Findings.KEPT) kept.push(what);
    this.#kept.set(promise, kept);
    this.#count(promise);
    if (phase !== undefined) this.#count(`${promise} ${phase}`);
  }

  #count(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  count(promise: Promised, phase?: number): number {
    return this.#counts.get(phase === undefined ? promise : `${promise} ${phase}`) ?? 0;
  }

  /** The first of them. */
  cases(promise: Promised): readonly string[] {
    return this.#kept.get(promise) ?? [];
  }

  get broken(): Promised[] {
    return (Object.keys(PROMISES) as Promised[]).filter((promise) => this.count(promise) > 0);
  }
}
