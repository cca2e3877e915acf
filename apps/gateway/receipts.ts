/**
 * What members have received and read. A receipt's way: the channel's watermarks are raised; only when they grew (or when
 * an earlier attempt may have died right here) are those told whom it concerns and who have a live session; only then does
 * the caller store what it came from, an ack or a mark. A kill in between repeats, and loses nothing. Whether the reader has
 * other devices to be told is seen where the ack or the mark is stored; of who sends, when a copy of the message comes.
 *
 * A receipt takes no sequence number, is never unread, and makes no receipts.
 */
import { peerOf } from '../../lib/protocol/ids.ts';
import { backOff } from '../../lib/redis/follow.ts';
import {
  type Raised,
  type RaiseInput,
  ReceiptVerbs,
  type TellInput,
  type Watermarks,
} from '../../lib/redis/receipt-verbs.ts';
import { isRetryable } from '../../lib/redis/retryable.ts';
import type { ScriptObserver } from '../../lib/redis/scripts.ts';
import { Batcher } from './batcher.ts';
import type { GatewayContext } from './context.ts';
import { GivenUp } from './given-up.ts';
import { isPresent, parseMember } from './membership.ts';
import type { OwnReceipts } from './own-receipts.ts';
import { Rounds, type Waiting } from './rounds.ts';

/** A raise is some 5 µs, a tell 10: no call holds Redis for more than about a millisecond. */
const PER_CALL = 64;
/**
 * Receipts of direct channels go together for so long: hardly to be seen, and most of a call and a wake each is saved. Those
 * of groups for longer, because each of them goes to many.
 */
const DIRECT_EVERY_MS = 50;
const GROUPS_EVERY_MS = 1000;
/** An outage of a minute; whoever connects later reads the state. */
const TELL_ATTEMPTS = 100;

export interface Mark extends Watermarks {
  user: string;
  channel: string;
  /** The device that received or read. */
  device: string;
  /** It may be a repetition of what was raised and never told: told also when nothing grew. */
  again: boolean;
}

type Receipt = Omit<TellInput, 'to' | 'via'>;

export class Receipts {
  readonly #ctx: GatewayContext;
  readonly #raises: Batcher<RaiseInput, Raised>;
  readonly #tells: Batcher<TellInput, void>;
  readonly #reads: Batcher<Mark, boolean>;
  readonly #direct: Rounds<TellInput>;
  readonly #groups: Rounds<Receipt>;
  readonly #ownOf: (user: string) => OwnReceipts | undefined;
  #stopped = false;
  readonly #givenUp: GivenUp;

  /** `ownOf`: of a user who has a session here. */
  constructor(ctx: GatewayContext, ownOf: (user: string) => OwnReceipts | undefined = () => undefined) {
    this.#ctx = ctx;
    this.#ownOf = ownOf;
    this.#givenUp = new GivenUp('receipt', ctx);
    const { store, keys, metrics, lanes } = ctx;
    const observe: ScriptObserver = (name, seconds) => metrics.redisSeconds.of(name).observe(seconds);
    const verbs = new ReceiptVerbs(store.command, keys, observe, lanes);
    const parts = { store, keys, perCall: PER_CALL };
    this.#raises = new Batcher({ ...parts, of: ({ channel }) => channel, call: (raises) => verbs.raise(raises) });
    this.#tells = new Batcher({
      ...parts,
      of: ({ to }) => to,
      call: async (receipts) => {
        metrics.receiptsTold.inc(await verbs.tell(receipts));
        return receipts.map(() => undefined);
      },
    });
    this.#direct = new Rounds(DIRECT_EVERY_MS, (waiting) => {
      for (const { item, told } of waiting) this.#tells.run(item).then(told.resolve, told.reject);
    });
    this.#groups = new Rounds(GROUPS_EVERY_MS, (waiting) => {
      // One second's receipts: a member's latest, all members' in one ring.
      const channels = Map.groupBy(waiting, ({ item }) => item.channel);
      for (const [channel, some] of channels) void this.#tellGroup(channel, some);
    });
    this.#reads = new Batcher({
      ...parts,
      of: ({ user }) => user,
      call: async (marks) => {
        const replies = await verbs.readAll(marks.map((mark) => ({ ...mark, seq: mark.read })));
        return replies.map((reply) => (reply instanceof Error ? reply : reply !== undefined));
      },
    });
  }

  /**
   * Resolves when the watermark is raised and the other members are told; rejects when either has to be tried again. With
   * what the reader's own other devices, if there are any, have yet to be told.
   */
  async received(mark: Mark): Promise<TellInput | undefined> {
    const raised = await this.#raise(mark);
    if (!raised) return undefined;
    await this.#tellOthers(mark, raised);
    return ownReceipt(mark, raised);
  }

  /** Resolves when it is told; rejects when it has to be tried again. */
  tellOwn(receipt: TellInput): Promise<void> {
    return this.#tellLater(receipt);
  }

  /**
   * A message says that its sender has read up to it; the watermarks rose with it (append.lua), nobody was told. `device`: ''
   * over HTTP.
   */
  sent(user: string, device: string, channel: string, seq: number, members: number): void {
    const mark = { user, device, channel, delivered: seq, read: seq, again: false };
    const raised = { delivered: seq, read: seq, members };
    const held = device !== '' && this.#ownOf(user)?.hold(ownReceipt(mark, raised)) === true;
    void this.#tellUntilTold(mark, raised, (present) =>
      held ? this.#tellOthers(mark, present) : this.#tellAll(mark, present),
    );
  }

  /** What the user's own other devices have yet to be told of. */
  tellOwed(receipts: readonly TellInput[]): void {
    for (const { user, via, channel, delivered, read } of receipts) {
      const mark = { user, device: via, channel, delivered, read, again: false };
      const tell = (present: Watermarks) => this.tellOwn(ownReceipt(mark, present));
      void this.#tellUntilTold(mark, { delivered, read, members: 1 }, tell);
    }
  }

  /**
   * Resolves when the watermark is raised and the reader's own mark moved, which tells the reader's other devices; the
   * other members hear of it then. False when the reader has no such conversation.
   */
  async read(mark: Mark): Promise<boolean> {
    const raised = await this.#raise(mark);
    const known = await this.#reads.run({ ...mark, delivered: raised?.delivered ?? 0 });
    if (raised) void this.#tellUntilTold(mark, raised, (present) => this.#tellOthers(mark, present));
    return known;
  }

  /** Nobody is waited for: somebody is about to leave. */
  hurry(): void {
    this.#direct.hurry();
    this.#groups.hurry();
  }

  /** The watermarks when they are to be told. */
  async #raise({
    user,
    channel,
    delivered,
    read,
    again,
  }: Mark): Promise<(Watermarks & { members: number }) | undefined> {
    const raised = await this.#raises.run({ user, channel, peer: peerOf(channel, user), delivered, read });
    // Of the wrong type: whoever writes to the channel is told.
    if (raised === 'refused' || raised === 'broken') return undefined;
    if (raised.grown) this.#ctx.metrics.receiptsRaised.inc();
    const repeated = again && (read > 0 ? raised.read <= read : raised.delivered <= delivered);
    return raised.grown || repeated ? raised : undefined;
  }

  async #tellAll(mark: Mark, raised: Watermarks & { members: number }): Promise<void> {
    await Promise.all([this.tellOwn(ownReceipt(mark, raised)), this.#tellOthers(mark, raised)]);
  }

  #tellLater(receipt: TellInput): Promise<void> {
    const { to, via, channel, user } = receipt;
    return this.#direct.add(`${to} ${via} ${channel} ${user}`, receipt);
  }

  async #tellOthers({ user, channel }: Mark, { delivered, read, members }: Watermarks & { members: number }) {
    const receipt = { channel, user, delivered, read };
    const peer = peerOf(channel, user);
    if (peer !== undefined) {
      if (peer !== user) await this.#tellLater({ ...receipt, to: peer, via: '' });
    } else if (members <= this.#ctx.config.limits.receipts_up_to) {
      await this.#groups.add(`${channel} ${user}`, receipt);
    }
  }

  /** A read is settled for its reader: if the others cannot be reached now, that is ours to mend. */
  async #tellUntilTold(
    mark: Mark,
    raised: Watermarks & { members: number },
    tell: (present: Watermarks & { members: number }) => Promise<void>,
  ): Promise<void> {
    let present: typeof raised | undefined = raised;
    for (let failures = 1; ; failures++) {
      try {
        present ??= await this.#raise({ ...mark, again: true }); // as it is by now; nothing when a newer one is told
        if (present) await tell(present);
        return;
      } catch (error) {
        if (!isRetryable(error) || failures >= TELL_ATTEMPTS || this.#stopped) {
          return this.#givenUp.count(error, 'a receipt is not told; the next one of its channel says it');
        }
        this.#ctx.metrics.retries.of('receipt').inc();
        this.#ctx.logger.warn({ err: error }, 'telling a receipt failed, trying again');
        present = undefined;
        await backOff(failures + 2);
      }
    }
  }

  /** What could not be told is not tried again. */
  stop(): void {
    this.#stopped = true;
    this.hurry();
  }

  /** A receipt is told when all members were told of it: what fails in one group, or of one receipt, fails no other. */
  async #tellGroup(channel: string, waiting: readonly Waiting<Receipt>[]): Promise<void> {
    const { store, keys } = this.#ctx;
    try {
      const members = Object.entries(await store.command.hgetall(keys.members(channel)));
      // Who was removed meanwhile is told nothing any more.
      const present = members.filter(([, value]) => isPresent(parseMember(value))).map(([user]) => user);
      for (const { item, told } of waiting) {
        const others = present.filter((to) => to !== item.user);
        const tells = others.map((to) => this.#tells.run({ ...item, to, via: '' }));
        Promise.all(tells).then(() => told.resolve(), told.reject);
      }
    } catch (error) {
      for (const { told } of waiting) told.reject(error);
    }
  }
}

function ownReceipt({ user, channel, device }: Mark, { delivered, read }: Watermarks): TellInput {
  return { to: user, via: device, channel, user, delivered, read };
}
