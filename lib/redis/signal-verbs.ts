/** What passes by without being stored. */
import { ScriptCaller } from './script-caller.ts';

const LOOK = '{"type":"look","user":"';

export class SignalVerbs extends ScriptCaller {
  /** To these users' sessions, wherever they are. All must be of partitions that one command may touch. */
  signal(users: readonly string[], signal: string): Promise<number> {
    const prefix = this.keys.signal(this.keys.partitionOf(users[0] ?? ''), '');
    const keys = users.map((user) => this.keys.sessions(user));
    return this.run<number>('signal', keys, [prefix, signal, ...users]);
  }

  /**
   * Who is who to the other may have changed: the gateways of either look again. In the form of a frame, because a gateway
   * that does not know it yet hands it to its clients, and these ignore what they do not know.
   */
  async lookAgain(a: string, b: string): Promise<void> {
    await Promise.all([this.signal([a], `${LOOK}${b}"}`), this.signal([b], `${LOOK}${a}"}`)]);
  }
}

/** `<user> <user> …`, a line feed, and what is said: a frame for these users' sessions, or whom they are to look at again. */
export function parseSignal(signal: string): { users: string[]; said: string; other: string | undefined } {
  const end = signal.indexOf('\n');
  const said = signal.slice(end + 1);
  const other = said.startsWith(LOOK) ? said.slice(LOOK.length, -2) : undefined;
  return { users: signal.slice(0, end).split(' '), said, other };
}
