/** The scripts of push: tokens, wake-ups that are due, and their queue. */
import { createHash } from 'node:crypto';
import { ScriptCaller } from './script-caller.ts';

/** Google holds a token for expired after 270 days without a sign of its app. */
const TOKEN_TTL_S = 270 * 24 * 3600;

/** A queued wake-up: see `lua/include/wakeups.lua`. */
export interface Wakeup {
  user: string;
  devices: readonly string[];
  sender: string;
  senderName: string;
  channel: string;
  seq: string;
  id: string;
  snippet: string;
  offset: string;
  count: number;
  after: string;
  session: string;
}

/** `Target`: wake it. */
export type Verdict = 'acked' | 'gone' | 'live' | Target;
export interface Target {
  platform: string;
  token: string;
}

export class PushVerbs extends ScriptCaller {
  /**
   * Registers a token. Whose it is, its own key decides, in one step and in one place: the device gets it first, where it
   * counts for nothing yet; then the key names the new owner; then the device that had it loses it. After a crash in
   * between, the pusher finds that the key names somebody else, and the next attempt does the rest.
   */
  async putDevice(user: string, device: string, target: Target, maxDevices: number): Promise<void> {
    const { platform, token } = target;
    const keys = [this.keys.devices(user), this.keys.sessions(user), this.#unsaved(user)];
    await this.run('put_device', keys, [device, platform, token, maxDevices, user]);
    const owner = `${user} ${device}`;
    const before = await this.redis.set(this.#tokenKey(token), owner, 'EX', TOKEN_TTL_S, 'GET');
    if (before === null || before === owner) return;
    const [other = '', theirs = ''] = before.split(' ');
    await this.dropToken(other, theirs, token);
  }

  async forgetDevice(user: string, device: string): Promise<void> {
    const keys = [this.keys.devices(user), this.#unsaved(user)];
    const token = await this.run<string>('forget_device', keys, [device, user]);
    // Another owner in between loses the key and nothing else: a token without one is its device's.
    if (token !== '' && (await this.ownsToken(user, device, token))) await this.redis.del(this.#tokenKey(token));
  }

  /** False when the device has another one by now. */
  async dropToken(user: string, device: string, token: string): Promise<boolean> {
    const keys = [this.keys.devices(user), this.#unsaved(user)];
    return (await this.run<number>('drop_token', keys, [device, token, user])) === 1;
  }

  async ownsToken(user: string, device: string, token: string): Promise<boolean> {
    const owner = await this.redis.get(this.#tokenKey(token));
    return owner === null || owner === `${user} ${device}`;
  }

  /** Queues what these sessions have not acked. All the users must be of partitions that one command may touch. */
  overdue(sessions: readonly { user: string; device: string; session: string }[]): Promise<number> {
    const keys = sessions.flatMap(({ user }) => [
      this.keys.sessions(user),
      this.keys.devices(user),
      this.keys.inbox(user),
      this.keys.push(this.keys.partitionOf(user)),
    ]);
    const args = sessions.flatMap(({ user, device, session }) => [user, device, session]);
    return this.run<number>('overdue', keys, args);
  }

  /** A verdict for each wake-up's each device. */
  async stillDue(user: string, wakeups: readonly Wakeup[]): Promise<Verdict[][]> {
    const args = wakeups.flatMap((w) => [w.offset, w.after, w.session, w.devices.length, ...w.devices]);
    const verdicts = await this.run<string[]>('wake', [this.keys.devices(user), this.keys.sessions(user)], args);
    let at = 0;
    return wakeups.map((w) => w.devices.map(() => verdictOf(verdicts[at++] ?? 'gone')));
  }

  /** For a message to a user whose tokens were put back after it was delivered. `fields`: as it went into the inbox. */
  async wakeLate(user: string, fields: readonly string[]): Promise<number> {
    const value = (name: string) => fields[fields.indexOf(name) + 1] ?? '';
    const keys = [this.keys.devices(user), this.keys.sessions(user), this.keys.push(this.keys.partitionOf(user))];
    const args = [user, ...['from', 'name', 'channel', 'seq', 'id', 'content'].map(value)];
    return await this.run<number>('wake_late', keys, args);
  }

  #unsaved(user: string): string {
    return this.keys.unsaved(this.keys.partitionOf(user));
  }

  #tokenKey(token: string): string {
    return this.keys.pushToken(createHash('sha256').update(token).digest('hex'));
  }
}

function verdictOf(text: string): Verdict {
  if (text === 'acked' || text === 'gone' || text === 'live') return text;
  const space = text.indexOf(' ');
  return { platform: text.slice(0, space), token: text.slice(space + 1) };
}
