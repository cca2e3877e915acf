/**
 * Acks of a tenth of a second go to the store together (design §5): one script call for many users. Of a session only the
 * latest offset matters, so it has at most one ack waiting and one under way.
 *
 * An ack is also a receipt: what it covers is raised and told first (receipts.ts), and only then is it stored.
 */
import { compareIds, maxId, ZERO } from '../../lib/redis/ids.ts';
import { Batcher } from './batcher.ts';
import type { GatewayContext } from './context.ts';
import type { Receipts } from './receipts.ts';
import { type Covered, cover, isOfOthers, positionOf } from './unacked.ts';

const EVERY_MS = 100;
const RETRY_MS = 1000;
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
}

type Stored = Pick<Ack, 'user' | 'device' | 'offset'>;

export class Acks {
  readonly #ctx: GatewayContext;
  readonly #receipts: Receipts;
  readonly #stores: Batcher<Stored, void>;
  readonly #waiting = new Map<string, Ack>();
  readonly #underWay = new Map<string, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #due = 0;

  constructor(ctx: GatewayContext, receipts: Receipts) {
    this.#ctx = ctx;
    this.#receipts = receipts;
    const { store, keys, verbs } = ctx;
    this.#stores = new Batcher({
      store,
      keys,
      perCall: PER_CALL,
      of: ({ user }) => user,
      call: async (acks) => {
        await verbs.ack(acks);
        return acks.map(() => undefined);
      },
    });
  }

  add(session: string, ack: Ack): void {
    const waiting = this.#waiting.get(session);
    this.#waiting.set(session, waiting ? merge(waiting, ack) : ack);
    this.#schedule(EVERY_MS);
  }

  /** Everything that waits now is stored when it resolves, or waits again. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [session, ack] of this.#waiting) {
      if (this.#underWay.has(session)) continue;
      this.#waiting.delete(session);
      this.#underWay.set(session, this.#process(session, ack));
    }
    await Promise.all(this.#underWay.values());
  }

  /** The session ends: what it has acked is stored when it resolves, as far as the store answers. */
  async settle(session: string): Promise<void> {
    // What is under way, and then what has come meanwhile.
    for (let i = 0; i < 2 && (this.#waiting.has(session) || this.#underWay.has(session)); i++) {
      void this.flush();
      this.#receipts.hurry();
      await this.#underWay.get(session);
    }
  }

  async #process(session: string, ack: Ack): Promise<void> {
    try {
      if (ack.unknownTo !== ZERO) await this.#readUnknown(ack);
      if (ack.covers.size > 0) await this.#receive(ack);
      await this.#stores.run(ack);
      this.#underWay.delete(session);
      if (this.#waiting.has(session)) this.#schedule(EVERY_MS);
    } catch (error) {
      this.#underWay.delete(session);
      this.#ctx.metrics.retries.of('ack').inc();
      this.#ctx.logger.warn({ err: error, user: ack.user }, 'storing an ack failed, it waits for the next time');
      const newer = this.#waiting.get(session);
      const repeated = { ...ack, again: true };
      this.#waiting.set(session, newer ? merge(repeated, newer) : repeated);
      this.#schedule(RETRY_MS);
    }
  }

  async #receive({ user, device, covers, again }: Ack): Promise<void> {
    const marks = [...covers].map(([channel, seq]) => ({ user, device, channel, delivered: seq, read: 0, again }));
    await Promise.all(marks.map((mark) => this.#receipts.received(mark)));
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
    if (this.#timer && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => void this.flush(), ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

function merge(earlier: Ack, later: Ack): Ack {
  for (const [channel, seq] of later.covers) cover(earlier.covers, channel, seq);
  return {
    ...earlier,
    offset: maxId(earlier.offset, later.offset),
    unknownTo: maxId(earlier.unknownTo, later.unknownTo),
    again: earlier.again || later.again,
  };
}
