/**
 * Acks of a tenth of a second go to the store together (design §5): one script call for many users. Of a session only the
 * latest offset matters, so it has at most one ack waiting and one under way.
 *
 * An ack is also a receipt: what it covers is raised and told first (receipts.ts), and only then is it stored. One's own other
 * devices are told only when it turns out, where it would be stored, that there are any.
 *
 * What fails and may pass is tried again, for as long as the session lives and some minutes after. What does not pass is
 * given up: the session's next ack says more, and the device's next hello repeats what was never stored.
 */
import { compareIds, maxId, ZERO } from '../../lib/redis/ids.ts';
import type { TellInput } from '../../lib/redis/receipt-verbs.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { AckInput } from '../../lib/redis/verbs.ts';
import { Batcher } from './batcher.ts';
import type { GatewayContext } from './context.ts';
import { GivenUp } from './given-up.ts';
import type { Receipts } from './receipts.ts';
import { type Covered, cover, isOfOthers, positionOf } from './unacked.ts';

const EVERY_MS = 100;
/** Jittered, and doubled up to 16 times this. Tests have less patience. */
const RETRY: Retry = { afterMs: 300, attemptsWhenGone: 100 };
const PER_CALL = 64;
/** Entries that are read from an inbox at a time. */
const PAGE = 100;

export interface Ack extends Covered {
  user: string;
  device: string;
  /** The ack before it: stored, or about to be. What lies beyond it up to `unknownTo` is read from the inbox. */
  from: string;
  offset: string;
  /** What it covers may have been raised before, by a gateway that died over it. */
  again: boolean;
  /** Too few entries since the last one that was not, for a look whether the inbox can be trimmed. */
  few: boolean;
}

export interface Retry {
  afterMs: number;
  /** Of a session that has ended. */
  attemptsWhenGone: number;
}

interface Waiting extends Ack {
  failures: number;
  /** Not tried before (`performance.now()`). */
  notBefore: number;
  /** The session has ended. */
  gone: boolean;
}

export class Acks {
  readonly #ctx: GatewayContext;
  readonly #receipts: Receipts;
  /** False: not stored, another device of the user has yet to be told. */
  readonly #stores: Batcher<AckInput, boolean>;
  readonly #givenUp: GivenUp;
  readonly #retry: Retry;
  readonly #waiting = new Map<string, Waiting>();
  readonly #underWay = new Map<string, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #stopped = false;

  constructor(ctx: GatewayContext, receipts: Receipts, retry = RETRY) {
    this.#ctx = ctx;
    this.#retry = retry;
    this.#givenUp = new GivenUp('ack', ctx);
    this.#receipts = receipts;
    const { store, keys, verbs } = ctx;
    this.#stores = new Batcher({
      store,
      keys,
      perCall: PER_CALL,
      of: ({ user }) => user,
      call: async (acks) => {
        const { company } = await verbs.ack(acks);
        return acks.map((_, i) => !company.has(i));
      },
    });
  }

  add(session: string, ack: Ack): void {
    const waiting = this.#waiting.get(session);
    const fresh = { failures: 0, notBefore: 0, gone: false };
    this.#waiting.set(session, waiting ? { ...waiting, ...merge(waiting, ack) } : { ...ack, ...fresh });
    this.#schedule(EVERY_MS);
  }

  /** Everything that waits now is stored when it resolves, or waits again. */
  async flush(): Promise<void> {
    for (const session of this.#waiting.keys()) this.#start(session);
    await Promise.all(this.#underWay.values());
  }

  #start(session: string): void {
    const ack = this.#waiting.get(session);
    if (!ack || this.#underWay.has(session)) return;
    this.#waiting.delete(session);
    this.#underWay.set(session, this.#process(session, ack));
  }

  #startDue(): void {
    this.#timer = undefined;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [session, { notBefore }] of this.#waiting) {
      if (notBefore <= now) this.#start(session);
      else next = Math.min(next, notBefore);
    }
    if (next < Number.POSITIVE_INFINITY) this.#schedule(next - now);
  }

  /** The session ends: what it has acked is stored when it resolves, as far as the store answers. */
  async settle(session: string): Promise<void> {
    // What is under way, and then what has come meanwhile.
    for (let i = 0; i < 2 && (this.#waiting.has(session) || this.#underWay.has(session)); i++) {
      this.#start(session);
      this.#receipts.hurry();
      await this.#underWay.get(session);
    }
    const left = this.#waiting.get(session);
    if (left) left.gone = true;
  }

  async #process(session: string, ack: Waiting): Promise<void> {
    try {
      if (ack.unknownTo !== ZERO) await this.#readUnknown(ack);
      const news = ack.covers.size > 0 ? await this.#receive(ack) : [];
      const { user, device, offset, few } = ack;
      if (!(await this.#stores.run({ user, device, offset, few, untold: news.length > 0 }))) {
        await Promise.all(news.map((receipt) => this.#receipts.tellOwn(receipt)));
        await this.#stores.run({ user, device, offset, few });
      }
      this.#underWay.delete(session);
      if (this.#waiting.has(session)) this.#schedule(EVERY_MS);
    } catch (error) {
      this.#underWay.delete(session);
      this.#failed(session, ack, error);
      if (this.#waiting.has(session)) this.#schedule(EVERY_MS);
    }
  }

  #failed(session: string, ack: Waiting, error: unknown): void {
    const failures = ack.failures + 1;
    if (!isRetryable(error) || (ack.gone && failures > this.#retry.attemptsWhenGone)) {
      this.#givenUp.count(error, 'an ack is not stored; the next one, or the next hello, says it again');
      return;
    }
    this.#ctx.metrics.retries.of('ack').inc();
    this.#ctx.logger.warn({ err: error, user: ack.user }, 'storing an ack failed, it waits for the next time');
    const pause = this.#retry.afterMs * 2 ** Math.min(failures - 1, 4) * (0.5 + Math.random());
    const repeated = { ...ack, again: true, failures, notBefore: performance.now() + pause };
    const newer = this.#waiting.get(session);
    this.#waiting.set(session, newer ? { ...repeated, ...merge(repeated, newer) } : repeated);
  }

  /** Resolves with what is news to the user's other devices. */
  async #receive({ user, device, covers, again }: Ack): Promise<TellInput[]> {
    const marks = [...covers].map(([channel, seq]) => ({ user, device, channel, delivered: seq, read: 0, again }));
    const receipts = await Promise.all(marks.map((mark) => this.#receipts.received(mark)));
    return receipts.filter((receipt) => receipt !== undefined);
  }

  async #readUnknown(ack: Ack): Promise<void> {
    const { command } = this.#ctx.store;
    const inbox = this.#ctx.keys.inbox(ack.user);
    for (let from = ack.from, full = true; full && compareIds(from, ack.unknownTo) < 0; ) {
      const entries = await command.xrange(inbox, `(${from}`, ack.unknownTo, 'COUNT', PAGE).catch((error: Error) => {
        if (error.message.startsWith('WRONGTYPE')) return []; // set aside: it covers nothing that can be told
        throw error;
      });
      for (const [, fields] of entries) {
        if (!isOfOthers(fields, ack.user)) continue;
        const { channel, seq } = positionOf(fields);
        cover(ack.covers, channel, seq);
      }
      full = entries.length === PAGE;
      from = entries.at(-1)?.[0] ?? from;
    }
    ack.unknownTo = ZERO;
  }

  #schedule(ms: number): void {
    const due = performance.now() + ms;
    if (this.#stopped) return;
    if (this.#timer && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#startDue(), ms);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}

function merge(earlier: Ack, later: Ack): Pick<Ack, 'offset' | 'unknownTo' | 'again' | 'few'> {
  for (const [channel, seq] of later.covers) cover(earlier.covers, channel, seq);
  return {
    offset: maxId(earlier.offset, later.offset),
    unknownTo: maxId(earlier.unknownTo, later.unknownTo),
    again: earlier.again || later.again,
    few: earlier.few && later.few,
  };
}
