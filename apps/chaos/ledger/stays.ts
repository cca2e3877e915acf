/**
 * Guests come and go: each time that one is in a channel is a stay. Whose stay is over cannot fill from history what they
 * missed of it: a gap leaves the channel out, and history is refused. By then a device had shown what it has in order, so only
 * what lies behind that is excused, and of stays that had been ended by then; everything else has to be shown.
 */
import type { Showing } from './account.ts';

interface Barred {
  /** Up to here all was shown. */
  after: number;
  /** Removals that had been asked for. */
  over: number;
  /** By a gap that leaves the channel out: then it need not have been sent either. */
  byGap: boolean;
}

export class Stays {
  /** user → channel → how many removals have been asked for. */
  readonly #ended = new Map<string, Map<string, number>>();
  /** `<device> <channel>` */
  readonly #barred = new Map<string, Barred[]>();

  removing(channel: string, user: string): void {
    const ended = this.#ended.get(user) ?? new Map<string, number>();
    ended.set(channel, (ended.get(channel) ?? 0) + 1);
    this.#ended.set(user, ended);
  }

  /** A gap with these channels' heads was told to the device. */
  told(device: number, user: string, named: ReadonlySet<string>, shown: ReadonlyMap<string, Showing>): void {
    for (const channel of this.#ended.get(user)?.keys() ?? []) {
      if (!named.has(channel)) this.#add(device, user, channel, shown.get(channel)?.last ?? 0, true);
    }
  }

  /** The channel's history after this seq was refused to the device. */
  refused(device: number, user: string, channel: string, after: number): void {
    this.#add(device, user, channel, after, false);
  }

  #add(device: number, user: string, channel: string, after: number, byGap: boolean): void {
    const key = `${device} ${channel}`;
    const over = this.#ended.get(user)?.get(channel) ?? 0;
    this.#barred.set(key, [...(this.#barred.get(key) ?? []), { after, over, byGap }]);
  }

  /** `stay`: in which of the user's stays in the channel it is, from 0. */
  excuses(device: number, channel: string, seq: number, stay: number, { unsent = false } = {}): boolean {
    const all = this.#barred.get(`${device} ${channel}`) ?? [];
    return all.some(({ after, over, byGap }) => stay < over && seq > after && (byGap || !unsent));
  }
}
