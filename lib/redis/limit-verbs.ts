/** Limits that the whole deployment counts together: only for what is rare, because each costs a round trip. */
import { ScriptCaller } from './script-caller.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3600_000;

export class LimitVerbs extends ScriptCaller {
  /** Resolves with how long to wait, in ms; 0: it may be. */
  newChannel(user: string, perHour: number): Promise<number> {
    return this.#take(this.keys.bucket('channels', user), perHour, HOUR_MS);
  }

  newConnection(address: string, perMinute: number): Promise<number> {
    return this.#take(this.keys.bucket('connections', address), perMinute, MINUTE_MS);
  }

  #take(key: string, tokens: number, fillMs: number): Promise<number> {
    return this.run<number>('bucket', [key], [tokens, fillMs]);
  }
}
