/**
 * The queue behind `for await (const message of client.messages())`. Each queued message holds the acks until the loop
 * comes for the next one: what a consumer was not given, or died over, comes again.
 */
import type { Kept } from './acks.ts';
import type { Message } from './events.ts';

interface Queued {
  message: Message;
  hold: Kept;
}

export class Inlet implements AsyncIterableIterator<Message> {
  readonly channel: string | undefined;
  private readonly queue: Queued[] = [];
  private taken: Kept | undefined;
  private waiting: { resolve: (result: IteratorResult<Message>) => void; reject: (error: Error) => void }[] = [];
  private ended = false;
  private error: Error | undefined;
  private readonly limit: number;
  /** Called whenever one was taken, and at the end. */
  private readonly changed: (inlet: Inlet) => void;

  constructor(channel: string | undefined, limit: number, changed: (inlet: Inlet) => void) {
    this.channel = channel;
    this.limit = limit;
    this.changed = changed;
  }

  get full(): boolean {
    return this.queue.length >= this.limit;
  }

  /** Refilled not one by one but when half is free: each time costs a new session. */
  get roomy(): boolean {
    return this.ended || this.queue.length <= this.limit / 2;
  }

  get done(): boolean {
    return this.ended;
  }

  push(message: Message, hold: Kept): void {
    const waiting = this.waiting.shift();
    if (waiting === undefined) this.queue.push({ message, hold });
    else {
      this.taken?.release();
      this.taken = hold;
      waiting.resolve({ done: false, value: message });
    }
  }

  next(): Promise<IteratorResult<Message>> {
    this.taken?.release();
    this.taken = undefined;
    const next = this.queue.shift();
    if (next !== undefined) {
      this.taken = next.hold;
      this.changed(this);
      return Promise.resolve({ done: false, value: next.message });
    }
    if (this.error !== undefined) return Promise.reject(this.error);
    if (this.ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  /** Leaving the loop: what was queued for it is dropped. */
  return(): Promise<IteratorResult<Message>> {
    this.ended = true;
    this.taken?.release();
    this.taken = undefined;
    for (const { hold } of this.queue.splice(0)) hold.release();
    this.changed(this);
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The client ends. What is still queued stays unacked, so that the next session gets it. */
  end(error?: Error): void {
    this.ended = true;
    this.error = error;
    this.queue.length = 0;
    for (const { resolve, reject } of this.waiting.splice(0)) {
      if (error === undefined) resolve({ done: true, value: undefined });
      else reject(error);
    }
    this.changed(this);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
