/** What passes by without being stored. */
import { ScriptCaller } from './script-caller.ts';

export class SignalVerbs extends ScriptCaller {
  /** To these users' sessions, wherever they are. All must be of partitions that one command may touch. */
  signal(users: readonly string[], signal: string): Promise<number> {
    const prefix = this.keys.signal(this.keys.partitionOf(users[0] ?? ''), '');
    const keys = users.map((user) => this.keys.sessions(user));
    return this.run<number>('signal', keys, [prefix, signal, ...users]);
  }
}
