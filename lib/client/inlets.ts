/**
 * The iterators of a client together: who gets a message, and whether there is room for another. A WebSocket cannot be
 * told to wait, so when one is full the client lets what comes pass by, unacked, and asks for it again in a new session
 * when half is free; its own sends go on meanwhile.
 */
import type { Kept } from './acks.ts';
import type { Message } from './events.ts';
import { Inlet } from './inlet.ts';

export class Inlets {
  private readonly open = new Set<Inlet>();
  private readonly waiting: (() => void)[] = [];
  private readonly limit: number;
  private readonly roomAgain: () => void;

  /** `roomAgain` is called when every iterator has been emptied to half. */
  constructor(limit: number, roomAgain: () => void) {
    this.limit = limit;
    this.roomAgain = roomAgain;
  }

  add(channel: string | undefined): Inlet {
    const inlet = new Inlet(channel, this.limit, (changed) => this.changed(changed));
    this.open.add(inlet);
    return inlet;
  }

  get full(): boolean {
    for (const inlet of this.open) if (inlet.full) return true;
    return false;
  }

  /** Each that takes the message gets a hold of its own. */
  push(message: Message, hold: () => Kept): void {
    for (const inlet of this.open) {
      if (inlet.channel === undefined || inlet.channel === message.channel) inlet.push(message, hold());
    }
  }

  /** Resolves when none is full. */
  room(): Promise<void> {
    return this.full ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }

  end(error?: Error): void {
    for (const inlet of [...this.open]) inlet.end(error);
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private changed(inlet: Inlet): void {
    if (inlet.done) this.open.delete(inlet);
    for (const other of this.open) if (!other.roomy) return;
    for (const resolve of this.waiting.splice(0)) resolve();
    this.roomAgain();
  }
}
