/**
 * Pairs of whom something was just heard that may change who sees whom: a block, a first message, a membership. The two
 * users' sides of it are written in two partitions, one perhaps a little later, so a pair is looked at at once and a few
 * times more; what takes longer finds the minutely round (`Watches`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Session } from './session.ts';

const ROUNDS = 4;
const ROUND_MS = 500;

interface Due {
  readonly users: Set<string>;
  rounds: number;
}

export class SecondLooks {
  readonly #look: (session: Session, users: readonly string[]) => Promise<void>;
  readonly #due = new Map<Session, Due>();
  #running = false;
  #stopped = false;

  /** `look` paces itself, and does not reject. */
  constructor(look: (session: Session, users: readonly string[]) => Promise<void>) {
    this.#look = look;
  }

  /** The session watches these users. */
  soon(session: Session, users: Iterable<string>): void {
    const due = this.#due.get(session);
    if (due) {
      for (const user of users) due.users.add(user);
      due.rounds = ROUNDS;
    } else {
      this.#due.set(session, { users: new Set(users), rounds: ROUNDS });
    }
    if (!this.#running) void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#due.clear();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#due.size > 0) {
      for (const [session, due] of [...this.#due]) {
        if (this.#stopped) return;
        if (--due.rounds <= 0 || !session.open) this.#due.delete(session);
        if (session.open) await this.#look(session, [...due.users]);
      }
      await sleep(ROUND_MS, undefined, { ref: false });
    }
    this.#running = false;
  }
}
