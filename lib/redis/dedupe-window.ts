/**
 * Which dedupe window a call is for. The window is the store's: a caller whose clock differs is refused, told the store's
 * time, and asks again.
 */
import { DEDUPE_WINDOW_MS } from '../keyspace/index.ts';

/** Refused: nothing was done, and this is the store's time in ms. */
export type OtherWindow = ['window', number];

export class DedupeWindow {
  /** What the store's clock is ahead of ours, known from the last refusal. */
  #clockAheadMs = 0;

  async call<Reply extends readonly unknown[]>(
    attempt: (window: number) => Promise<OtherWindow | Reply>,
  ): Promise<Reply> {
    for (let attempts = 0; attempts < 3; attempts++) {
      const reply = await attempt(Math.floor((Date.now() + this.#clockAheadMs) / DEDUPE_WINDOW_MS));
      if (reply[0] !== 'window') return reply as Reply;
      this.#clockAheadMs = Number(reply[1]) - Date.now();
    }
    throw new Error('the store refused the dedupe window three times: its clock jumps');
  }
}
