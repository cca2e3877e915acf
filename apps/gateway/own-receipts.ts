/**
 * Who sends has read what came before, which is news for their other devices. Most users have none, and to ask the store costs
 * a look for each answer that they give: but of one's own message a copy comes only to who has another device. So what is owed
 * to these waits for it. Of a user with one device nothing is ever told; what waits for them is a receipt a conversation.
 */
import type { TellInput } from '../../lib/redis/receipt-verbs.ts';

/** Of one user; more than these are told at once, whether there is anybody or not. */
const MOST = 32;

/** What is known of a user who has a session here. */
export class OwnReceipts {
  #copied = false;
  /** By channel. */
  #owed: Map<string, TellInput> | undefined;

  /** False: it is to be told at once. */
  hold(receipt: TellInput): boolean {
    if (this.#copied) return false;
    this.#owed ??= new Map();
    if (this.#owed.size >= MOST && !this.#owed.has(receipt.channel)) return false;
    this.#owed.set(receipt.channel, receipt);
    return true;
  }

  /** A copy has come, and from now on there is no waiting for one. Returns what is to be told. */
  copied(): TellInput[] {
    this.#copied = true;
    return this.take();
  }

  take(): TellInput[] {
    const owed = [...(this.#owed?.values() ?? [])];
    this.#owed = undefined;
    return owed;
  }
}
