/**
 * What has still to be sent: messages, edits, deletions. Each channel has a queue of which only the first is under way: a refusal that passes
 * (`rate_limited`, `unavailable`) must not let a later message overtake. An item leaves its queue when the server has
 * accepted or finally refused it; until then it is sent again, under the same client_id, in each new session.
 */
import { type ErrorCode, MillraceError } from '../protocol/errors.ts';
import type { AcceptedFrame, ErrorFrame } from '../protocol/frames.ts';
import { directChannel } from '../protocol/ids.ts';
import { Backoff } from './backoff.ts';
import type { OutboxFrame } from './outgoing.ts';
import type { ClientStorage, OutboxItem } from './storage.ts';

export type Accepted = Omit<AcceptedFrame, 'type' | 'ref'>;

/** The server remembers a client_id for at least an hour; the margin covers clocks and the way. */
export const REMEMBERED_MS = 55 * 60_000;
/** A session that lives but leaves a send unanswered for this long gets it again. */
const ANSWER_MS = 20_000;

/** Refusals after which an item is tried as often as before: a failover of the server's store takes a few seconds. */
const STEADY = 16;

const PASSING = new Set<ErrorCode>(['rate_limited', 'unavailable', 'internal']);

export interface OutboxOptions {
  storage: ClientStorage;
  now: () => number;
  random: () => number;
  /** Writes to the session; false when there is none. */
  write: (frame: OutboxFrame) => boolean;
  /** Looks an old item up in the channel's history. */
  find: (channel: string, item: OutboxItem) => Promise<Accepted | undefined>;
  failed: (error: unknown) => void;
  /** Items at once; more are refused. */
  limit: number;
}

interface Pending {
  readonly item: OutboxItem;
  readonly channel: string;
  state: 'saving' | 'ready' | 'flying' | 'busy';
  /** Whether it may have reached a server. */
  sent: boolean;
  sentAt: number;
  readonly backoff: Backoff;
  timer: ReturnType<typeof setTimeout> | undefined;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: Error) => void;
}

export class Outbox {
  private user: string | undefined;
  private isLive = false;
  private readonly items = new Map<string, Pending>();
  private readonly queues = new Map<string, Pending[]>();
  private readonly emptied: (() => void)[] = [];
  private readonly options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.options = options;
  }

  get size(): number {
    return this.items.size;
  }

  /** Items that an earlier process left; their promises are long gone, so refusals are told as errors. */
  restore(items: readonly OutboxItem[]): void {
    for (const item of items) {
      if (!this.items.has(item.frame.client_id)) this.enqueue(item, true).catch(this.options.failed);
    }
  }

  async send(frame: OutboxFrame): Promise<Accepted> {
    if (this.items.has(frame.client_id)) throw new MillraceError('conflict', `client_id ${frame.client_id} is pending`);
    if (this.items.size >= this.options.limit) throw new MillraceError('rate_limited', 'too many messages are waiting');
    return this.enqueue({ frame, at: this.options.now() }, false);
  }

  /** The replay is over: everything goes out, each channel's in order. */
  live(user: string): void {
    if (this.user !== user) {
      this.user = user;
      this.regroup();
    }
    this.isLive = true;
    for (const queue of [...this.queues.values()]) this.pump(queue);
  }

  down(): void {
    this.isLive = false;
    for (const [first] of this.queues.values()) if (first?.state === 'flying') first.state = 'ready';
  }

  /** Whether own sends of the channel are under way. */
  sending(channel: string): boolean {
    return this.queues.has(channel);
  }

  /** False when nobody waits for it. The own message, read back from the inbox or history, says the same. */
  accepted(answer: Accepted): boolean {
    const pending = this.items.get(answer.client_id);
    if (pending === undefined || pending.channel !== answer.channel) return false;
    const { client_id, channel, seq, id, ts, duplicate } = answer;
    this.settle(pending);
    pending.resolve({ client_id, channel, seq, id, ts, duplicate });
    return true;
  }

  /** False when it is about no item. */
  refused(frame: ErrorFrame): boolean {
    if (frame.client_id === undefined) return false;
    const pending = this.items.get(frame.client_id);
    // Sent twice, because the first answer took long, and settled by it.
    if (pending === undefined) return true;
    if (PASSING.has(frame.code)) {
      // Who is too fast slows down at once.
      if (frame.code === 'rate_limited') pending.backoff.atLeast(STEADY);
      this.later(pending, frame.retry_after_ms);
    } else {
      this.settle(pending);
      pending.reject(new MillraceError(frame.code, frame.message));
    }
    return true;
  }

  /** Called now and then: what was sent long ago without an answer goes out again. */
  sweep(): void {
    const before = this.options.now() - ANSWER_MS;
    for (const queue of this.queues.values()) {
      if (queue[0]?.state !== 'flying' || queue[0].sentAt > before) continue;
      queue[0].state = 'ready';
      this.pump(queue);
    }
  }

  /** Resolves when nothing is pending. */
  empty(): Promise<void> {
    if (this.items.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.emptied.push(resolve));
  }

  /** The items stay in storage for the next start; here their promises end. */
  close(reason: Error): void {
    this.isLive = false;
    for (const pending of this.items.values()) {
      clearTimeout(pending.timer);
      pending.reject(reason);
    }
    this.items.clear();
    this.queues.clear();
  }

  private enqueue(item: OutboxItem, restored: boolean): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      const backoff = new Backoff({ baseMs: 200, capMs: 10_000, steady: STEADY, random: this.options.random });
      const { frame } = item;
      const pending: Pending = {
        item,
        channel: channelOf(frame, this.user),
        state: 'ready',
        sent: restored,
        sentAt: 0,
        backoff,
        timer: undefined,
        resolve,
        reject,
      };
      this.items.set(frame.client_id, pending);
      const queue = this.queues.get(pending.channel);
      if (queue === undefined) this.queues.set(pending.channel, [pending]);
      else queue.push(pending);
      if (!restored) this.save(pending);
      this.pump(this.queues.get(pending.channel)!);
    });
  }

  /** Stored before it is sent: a process that dies in between sends it at its next start. */
  private save(pending: Pending): void {
    const failed = (error: unknown) => {
      this.settle(pending);
      pending.reject(new MillraceError('internal', 'the message could not be stored', { cause: error }));
    };
    try {
      const saved = this.options.storage.putSend(pending.item);
      if (saved === undefined) return;
      pending.state = 'saving';
      saved.then(() => {
        if (pending.state === 'saving') pending.state = 'ready';
        this.pump(this.queues.get(pending.channel) ?? []);
      }, failed);
    } catch (error) {
      failed(error);
    }
  }

  private pump(queue: Pending[]): void {
    const first = queue[0];
    if (!this.isLive || first === undefined || first.state !== 'ready') return;
    if (first.sent && this.options.now() - first.item.at > REMEMBERED_MS) {
      first.state = 'busy';
      void this.lookUp(first);
      return;
    }
    first.state = 'flying';
    first.sentAt = this.options.now();
    first.sent = true;
    if (!this.options.write(first.item.frame)) first.state = 'ready';
  }

  /** Sent perhaps, too long ago for the server to know the client_id: history tells whether it arrived. */
  private async lookUp(pending: Pending): Promise<void> {
    try {
      const found = await this.options.find(pending.channel, pending.item);
      if (this.items.get(pending.item.frame.client_id) !== pending) return;
      if (found !== undefined) {
        this.accepted(found);
        return;
      }
      pending.sent = false;
      pending.state = 'ready';
      this.pump(this.queues.get(pending.channel)!);
    } catch (error) {
      const code = error instanceof MillraceError ? error.code : 'unavailable';
      if (this.items.get(pending.item.frame.client_id) !== pending) return;
      if (code !== 'not_found' && code !== 'forbidden') return this.later(pending, undefined);
      // No history to read: the server's answer to the send itself says why.
      pending.sent = false;
      pending.state = 'ready';
      this.pump(this.queues.get(pending.channel)!);
    }
  }

  private later(pending: Pending, retryAfterMs: number | undefined): void {
    pending.state = 'busy';
    pending.timer = setTimeout(
      () => {
        pending.state = 'ready';
        this.pump(this.queues.get(pending.channel) ?? []);
      },
      (retryAfterMs ?? 0) + pending.backoff.next(),
    );
  }

  private settle(pending: Pending): void {
    const { client_id } = pending.item.frame;
    this.items.delete(client_id);
    clearTimeout(pending.timer);
    const queue = this.queues.get(pending.channel) ?? [];
    const place = queue.indexOf(pending);
    if (place >= 0) queue.splice(place, 1);
    if (queue.length === 0) this.queues.delete(pending.channel);
    try {
      const removed = this.options.storage.removeSend(client_id);
      if (removed !== undefined) removed.catch(this.options.failed);
    } catch (error) {
      this.options.failed(error);
    }
    this.pump(queue);
    if (this.items.size === 0) for (const resolve of this.emptied.splice(0)) resolve();
  }

  /** `to` names a channel only once the own user id is known: until the first session, such items queue by `to`. */
  private regroup(): void {
    const all = [...this.items.entries()];
    this.items.clear();
    this.queues.clear();
    for (const [clientId, pending] of all) {
      const moved: Pending = Object.assign(pending, { channel: channelOf(pending.item.frame, this.user) });
      this.items.set(clientId, moved);
      const queue = this.queues.get(moved.channel);
      if (queue === undefined) this.queues.set(moved.channel, [moved]);
      else queue.push(moved);
    }
  }
}

/** Its queue; before the own user id is known, that of a send to a user has a name of its own. */
function channelOf(frame: OutboxFrame, user: string | undefined): string {
  if (frame.channel !== undefined) return frame.channel;
  const to = frame.type === 'send' && frame.to !== undefined ? frame.to : '';
  return user === undefined ? `to:${to}` : directChannel(user, to);
}
