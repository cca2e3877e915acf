/**
 * What an application sees: the events of a channel as they are shown, those of the connection, and a small typed
 * emitter for both.
 */
import type { ErrorFrame, EventFrame, GoawayFrame, MessageFrame, WelcomeFrame } from '../protocol/frames.ts';

/** An event that came from history has no offset. */
type Shown<T> = T extends { offset: string } ? Omit<T, 'offset'> & { offset?: string } : never;

/**
 * A message. From history it can be one that was edited or deleted since; then `content` is the new text, or empty. The
 * changes themselves still come as events: an `edited` whose `ts` is below the message's `edited_at` is older than its text,
 * and one whose message was deleted since has an empty content.
 */
export type Message = Shown<MessageFrame> & { edited_at?: number; deleted?: boolean };
export type ChannelEvent = Message | Shown<Exclude<EventFrame, MessageFrame>>;
export type EventOf<T extends ChannelEvent['type']> = Extract<ChannelEvent, { type: T }>;

/** What a user wrote under a client_id, and not what was done with a group. */
export function isWritten<T extends { type: string }>(event: T): event is Extract<T, { client_id: string }> {
  return event.type === 'message' || event.type === 'edited' || event.type === 'deleted';
}

export interface GapEvent {
  since: string;
  oldest: string | null;
  /** The channels that are being filled from history: what lies after `from`, up to `to`, comes as events. */
  channels: {
    channel: string;
    from: number;
    to: number /** Nothing of this channel is known before `from`. */;
    unknown: boolean;
  }[];
}

export interface Disconnected {
  /** The WebSocket's close code; 1006 when there was none. */
  code: number;
  reason: string;
  retryInMs: number;
  cause?: unknown;
}

export interface Closed {
  code: number;
  reason: string;
  /** False: the server wants no reconnect (4001, 4002, 4003); true: close() was called. */
  byUser: boolean;
}

/** Somebody, or oneself on another device, has received or read more of a channel than was known. */
export interface ReceiptEvent {
  channel: string;
  user: string;
  delivered: number;
  read: number;
}

/** What is known of a watched user for the first time, and each change of it. */
export interface PresenceEvent {
  user: string;
  status: 'online' | 'offline';
  /** Unix ms; while online, since when; null: never, or not to be known. */
  lastSeen: number | null;
}

/** Somebody begins to type, and once they stop, or say so no more, or their message is there. */
export interface TypingEvent {
  channel: string;
  user: string;
  on: boolean;
}

export interface ClientEvents {
  message: Message;
  edited: EventOf<'edited'>;
  deleted: EventOf<'deleted'>;
  created: EventOf<'created'>;
  renamed: EventOf<'renamed'>;
  member: EventOf<'member'>;
  /** Each of the six above, in one place. */
  event: ChannelEvent;
  receipt: ReceiptEvent;
  presence: PresenceEvent;
  typing: TypingEvent;
  gap: GapEvent;
  /** A session is up; what was missed comes next, then `live`. */
  connected: WelcomeFrame;
  live: { offset: string };
  /**
   * The server is going away. The client moves on by itself, in general without a break: then `connected` comes again with
   * no `disconnected` before it.
   */
  goaway: GoawayFrame;
  /** The connection is gone; the next attempt is made by itself. */
  disconnected: Disconnected;
  /** For good: connect() has to be called again. */
  closed: Closed;
  /** What no promise of a call tells: a listener that threw, storage that failed, an `error` frame of the server. */
  error: Error;
}

export type Listener<T> = (event: T) => void | PromiseLike<void>;

export class Emitter<Events> {
  private readonly listeners = new Map<keyof Events, Listener<never>[]>();
  private readonly failed: (error: unknown) => void;

  /** `failed` is told what a listener threw or rejected with: one listener must not keep others from the event. */
  constructor(failed: (error: unknown) => void) {
    this.failed = failed;
  }

  /** Returns the function that takes the listener away. */
  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): () => void {
    // Copied on write, so that an emit under way is not disturbed.
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener as Listener<never>]);
    return () => this.off(name, listener);
  }

  off<K extends keyof Events>(name: K, listener: Listener<Events[K]>): void {
    const left = (this.listeners.get(name) ?? []).filter((other) => other !== listener);
    if (left.length > 0) this.listeners.set(name, left);
    else this.listeners.delete(name);
  }

  has(name: keyof Events): boolean {
    return this.listeners.has(name);
  }

  /** A promise when a listener is still busy with the event, settled when all are done; it never rejects. */
  emit<K extends keyof Events>(name: K, event: Events[K]): Promise<unknown> | undefined {
    const listeners = this.listeners.get(name) as Listener<Events[K]>[] | undefined;
    if (listeners === undefined) return undefined;
    let busy: Promise<unknown>[] | undefined;
    for (const listener of listeners) {
      try {
        const result = listener(event);
        if (result !== undefined && typeof result?.then === 'function') {
          busy ??= [];
          busy.push(Promise.resolve(result).catch(this.failed));
        }
      } catch (error) {
        this.failed(error);
      }
    }
    return busy && Promise.all(busy);
  }
}

/** The emitter of a client. */
export class Events extends Emitter<ClientEvents> {
  constructor() {
    super((error) => this.fail(error));
  }

  /** For what no promise tells. Without a listener it goes to the console, which both worlds have: never silence. */
  readonly fail = (error: unknown): void => {
    const told = error instanceof Error ? error : new Error(String(error));
    if (this.has('error')) this.emit('error', told);
    else console.error('millrace:', told);
  };
}

/** An `error` frame that answers nothing this client waits for. */
export function describe(frame: ErrorFrame): string {
  return `the server refused a frame: ${frame.code}: ${frame.message}`;
}
