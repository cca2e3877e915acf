/**
 * What a client has to remember over a restart: how far it has come, and what it has still to send. Memory by default;
 * an application that wants more gives its own (the methods may be asynchronous).
 */
import type { OutboxFrame } from './outgoing.ts';

export interface OutboxItem {
  frame: OutboxFrame;
  /** When it was given to the client, Unix ms of this device's clock. */
  at: number;
}

/**
 * After a restart from here, everything after `offset` comes that was not shown, and no seq up to `shown` again. `shown` may
 * be ahead of the offset, which waits where a channel has a hole.
 */
export interface Progress {
  offset: string | undefined;
  /** Channel → the highest seq that was handled. In a save only the channels that changed. */
  shown: Record<string, number>;
}

export interface Saved extends Progress {
  /** In the order in which they were put. */
  outbox: OutboxItem[];
}

export interface ClientStorage {
  load(): Saved | Promise<Saved>;
  saveProgress(progress: Progress): void | Promise<void>;
  putSend(item: OutboxItem): void | Promise<void>;
  removeSend(clientId: string): void | Promise<void>;
}

/** Lives as long as the process; given to a second client it continues where the first one stopped. */
export class MemoryStorage implements ClientStorage {
  private offset: string | undefined;
  private readonly shown = new Map<string, number>();
  private readonly outbox = new Map<string, OutboxItem>();

  load(): Saved {
    return { offset: this.offset, shown: Object.fromEntries(this.shown), outbox: [...this.outbox.values()] };
  }

  saveProgress(progress: Progress): void {
    this.offset = progress.offset;
    for (const channel in progress.shown) this.shown.set(channel, progress.shown[channel]!);
  }

  putSend(item: OutboxItem): void {
    this.outbox.set(item.frame.client_id, item);
  }

  removeSend(clientId: string): void {
    this.outbox.delete(clientId);
  }
}

/** The part of `localStorage` that is needed. */
export interface KeyValue {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** For browsers: `new WebStorage(localStorage, 'millrace:alice')`. Each user and device needs a name of its own. */
export class WebStorage extends MemoryStorage {
  private readonly store: KeyValue;
  private readonly name: string;

  constructor(store: KeyValue, name: string) {
    super();
    this.store = store;
    this.name = name;
    const text = store.getItem(name);
    if (text === null) return;
    const saved = JSON.parse(text) as Saved;
    super.saveProgress(saved);
    for (const item of saved.outbox) super.putSend(item);
  }

  override saveProgress(progress: Progress): void {
    super.saveProgress(progress);
    this.write();
  }

  override putSend(item: OutboxItem): void {
    super.putSend(item);
    this.write();
  }

  override removeSend(clientId: string): void {
    super.removeSend(clientId);
    this.write();
  }

  private write(): void {
    this.store.setItem(this.name, JSON.stringify(this.load()));
  }
}
