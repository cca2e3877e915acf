/** Whether this process keeps up: when its event loop is late, what may be dropped is dropped. */
const LOOK_EVERY_MS = 50;
const LATE_MS = 250;
/** After it was late, so long. */
const HOLD_MS = 1000;

export class Pressure {
  readonly #timer: NodeJS.Timeout;
  #due = performance.now() + LOOK_EVERY_MS;
  #until = 0;

  constructor() {
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  get late(): boolean {
    const now = performance.now();
    return now < this.#until || now - this.#due > LATE_MS;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#due > LATE_MS) this.#until = now + HOLD_MS;
    this.#due = now + LOOK_EVERY_MS;
  }
}
