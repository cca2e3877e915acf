/**
 * Work that is done again and again on many things (partitions, mostly), of which none waits for another: what hangs at one
 * server, or fails there, leaves the others to go on at their own pace. Of each thing, one piece of work at a time.
 */
export class InFlight<Thing> {
  readonly #work = new Map<Thing, Promise<void>>();

  /** The things that nothing is done on. */
  idle(things: Iterable<Thing>): Thing[] {
    return [...things].filter((thing) => !this.#work.has(thing));
  }

  /** Work on one thing, or on several together, that are idle. It must not reject. */
  start(things: readonly Thing[], work: () => Promise<void>): void {
    const ended = work().finally(() => {
      for (const thing of things) this.#work.delete(thing);
    });
    for (const thing of things) this.#work.set(thing, ended);
  }

  /** Resolves when what is done on this thing now has ended. */
  async of(thing: Thing): Promise<void> {
    await this.#work.get(thing);
  }

  /** The same, of all. */
  async all(): Promise<void> {
    await Promise.all(this.#work.values());
  }
}
