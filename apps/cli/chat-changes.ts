/** `/edit` and `/delete` of a chat: which of one's own messages is meant. */
import type { History } from '../../lib/client/index.ts';

export interface Change {
  seq: number;
  /** The new text of an edit; empty for a deletion. */
  text: string;
}

/** One's own latest message of each channel: what is changed when no number is given. */
export class OwnMessages {
  readonly #latest = new Map<string, number>();

  sent(channel: string, seq: number): void {
    this.#latest.set(channel, Math.max(seq, this.#latest.get(channel) ?? 0));
  }

  deleted(channel: string, seq: number): void {
    if (this.#latest.get(channel) === seq) this.#latest.delete(channel);
  }

  /** From a page of history, newest first. */
  seen(channel: string, me: string, messages: History['messages']): void {
    const own = messages.find((entry) => entry.type === 'message' && entry.from === me && !entry.deleted);
    if (own) this.sent(channel, own.seq);
  }

  /** `#7 a new text`, or `a new text` for the latest; undefined when there is none. */
  meant(channel: string, typed: string): Change | undefined {
    const [, digits, rest = ''] = /^(?:#(\d{1,15})(?:\s+|$))?(.*)$/s.exec(typed.trim()) ?? [];
    const seq = digits === undefined ? this.#latest.get(channel) : Number(digits);
    return seq === undefined || seq < 1 ? undefined : { seq, text: rest };
  }
}
