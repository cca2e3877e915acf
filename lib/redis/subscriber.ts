/**
 * Sharded Pub/Sub: what is said on a channel goes only to the server that has the channel's slot, so each server is
 * listened to on one connection of its own (which servers there are, `SubscriptionServers` knows).
 *
 * Pub/Sub forgets: what is said while a channel is not subscribed is lost. So whoever keeps a state that the messages change
 * is told (`renewed`) to read it again, once the channel is heard again.
 */
import { Link, type SubscriptionServers } from './subscription-link.ts';

export interface SubscriberEvents {
  message(channel: string, text: string): void;
  /** These are heard again, or later than `subscribe` waited: what was said before is lost. */
  renewed(channels: readonly string[]): void;
  /** Trouble with a connection; it is tried again by itself. */
  failed(error: unknown): void;
}

interface Channel {
  /** Subscribed so many times. */
  count: number;
  link: Link | undefined;
  /** Something may have been said that was not heard. */
  missed: boolean;
  waiting: (() => void)[] | undefined;
}

export class Subscriber {
  readonly #servers: SubscriptionServers;
  readonly #events: SubscriberEvents;
  readonly #channels = new Map<string, Channel>();
  readonly #links = new Map<string, Link>();
  readonly #unsubscribe: () => void;
  #closed = false;

  constructor(servers: SubscriptionServers, events: SubscriberEvents) {
    this.#servers = servers;
    this.#events = events;
    this.#unsubscribe = servers.onTopologyChange(() => this.#place());
  }

  /** Resolves once all are heard, or after `waitMs`: `renewed` then tells of the late ones. Counts. */
  async subscribe(channels: readonly string[], waitMs: number): Promise<void> {
    const unheard: Channel[] = [];
    for (const name of channels) {
      let channel = this.#channels.get(name);
      if (!channel) {
        channel = { count: 0, link: undefined, missed: false, waiting: undefined };
        this.#channels.set(name, channel);
        this.#put(name, channel);
      }
      channel.count++;
      if (!channel.link?.hears(name)) unheard.push(channel);
    }
    if (unheard.length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        for (const channel of unheard) channel.missed ||= channel.waiting !== undefined;
        resolve();
      }, waitMs);
    });
    const heard = unheard.map(
      (channel) =>
        new Promise<void>((resolve) => {
          channel.waiting ??= [];
          channel.waiting.push(resolve);
        }),
    );
    await Promise.race([late, Promise.all(heard)]);
    clearTimeout(timer);
  }

  unsubscribe(channels: readonly string[]): void {
    for (const name of channels) {
      const channel = this.#channels.get(name);
      if (!channel || --channel.count > 0) continue;
      this.#channels.delete(name);
      channel.link?.remove(name);
      for (const resolve of channel.waiting ?? []) resolve();
    }
  }

  /** Whether what is said on the channel at this moment arrives. */
  hears(name: string): boolean {
    return this.#channels.get(name)?.link?.hears(name) === true;
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    for (const link of this.#links.values()) link.close();
    for (const { waiting } of this.#channels.values()) for (const resolve of waiting ?? []) resolve();
  }

  #put(name: string, channel: Channel): void {
    const server = this.#servers.serverOf(name);
    if (server === undefined || this.#closed) return; // the next change of the topology places it
    let link = this.#links.get(server);
    if (!link) {
      link = new Link(server, this.#servers, {
        message: (at, text) => {
          if (this.#channels.has(at)) this.#events.message(at, text);
        },
        heard: (names) => this.#heard(names),
        lost: (names) => this.#lost(names),
        failed: (error) => this.#events.failed(error),
        ended: (ended) => {
          if (this.#links.get(server) === ended) this.#links.delete(server);
        },
      });
      this.#links.set(server, link);
    }
    channel.link = link;
    link.add(name);
  }

  #place(): void {
    for (const [name, channel] of this.#channels) {
      const server = this.#servers.serverOf(name);
      if (channel.link && channel.link.server === server) continue;
      if (channel.link?.hears(name)) channel.missed = true;
      channel.link?.remove(name);
      channel.link = undefined;
      this.#put(name, channel);
    }
    for (const link of this.#links.values()) link.check();
  }

  #heard(names: readonly string[]): void {
    const renewed: string[] = [];
    for (const name of names) {
      const channel = this.#channels.get(name);
      if (!channel) continue;
      if (channel.missed) renewed.push(name);
      channel.missed = false;
      for (const resolve of channel.waiting ?? []) resolve();
      channel.waiting = undefined;
    }
    if (renewed.length > 0) this.#events.renewed(renewed);
  }

  #lost(names: Iterable<string>): void {
    for (const name of names) {
      const channel = this.#channels.get(name);
      if (channel) channel.missed = true;
    }
  }
}
