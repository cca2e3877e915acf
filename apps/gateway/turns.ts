/**
 * Lets newcomers in (and leavers out) a few at a time: at most so many per turn of the event loop, in the order in which they came. Between
 * two turns the sockets of those who are in are served, so thousands who come back at once are a queue and not a standstill.
 *
 * An upgrade or a hello costs a few hundred microseconds of the event loop, and one poll hands over up to 1,024 ready
 * sockets.
 */
export class Turns {
  readonly #perTurn: number;
  #room: number;
  #scheduled = false;
  #waiting: (() => void)[] = [];
  #first = 0;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
    this.#room = perTurn;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length - this.#first;
  }

  /** Resolves when it is one's turn: at once while nobody waits and this turn has room. */
  async next(): Promise<void> {
    this.#schedule();
    if (this.#room > 0 && this.waiting === 0) {
      this.#room--;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    const admitted = Math.min(this.#perTurn, this.waiting);
    this.#room = this.#perTurn - admitted;
    // An immediate each: what one goes on to do runs before the next is let in. They come with the next turn.
    for (let i = 0; i < admitted; i++) setImmediate(() => this.#admit());
    if (admitted > 0) this.#schedule();
  }

  #admit(): void {
    const resolve = this.#waiting[this.#first++];
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
    }
    resolve?.();
  }
}
