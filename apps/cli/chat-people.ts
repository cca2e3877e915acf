/** The status line of a chat: who of the others in the channel is there, and who is typing. */
import type { Members, MillraceClient } from '../../lib/client/index.ts';
import { parseChannel } from '../../lib/protocol/ids.ts';
import { ago } from './table.ts';

/** "5 min ago" grows old by itself. */
const AGAIN_MS = 20_000;

/** Of a client, what is needed here. */
export type Watching = Pick<MillraceClient, 'on' | 'watch' | 'unwatch' | 'presence' | 'members'>;

export class People {
  private readonly client: Watching;
  private readonly me: string;
  private readonly changed: () => void;
  private channel: string | undefined;
  private others: string[] = [];
  private readonly typing = new Set<string>();
  private connected = true;
  /** How many a session may watch. */
  private limit = 500;
  private readonly timer: NodeJS.Timeout;

  /** `changed`: the status is another one. */
  constructor(client: Watching, me: string, changed: () => void) {
    this.client = client;
    this.me = me;
    this.changed = changed;
    client.on('presence', changed);
    client.on('typing', ({ channel, user, on }) => {
      if (channel !== this.channel || user === me) return;
      if (on) this.typing.add(user);
      else this.typing.delete(user);
      changed();
    });
    client.on('receipt', ({ channel, user }) => {
      if (channel === this.channel) this.met(user);
    });
    client.on('member', ({ channel, user, action }) => {
      if (channel !== this.channel || action === 'role') return;
      this.watch(action === 'added' ? [...this.others, user] : this.others.filter((other) => other !== user));
    });
    client.on('connected', ({ limits }) => {
      this.limit = limits.watched;
    });
    client.on('disconnected', () => this.connection(false));
    client.on('live', () => this.connection(true));
    this.timer = setInterval(changed, AGAIN_MS).unref();
  }

  async enter(channel: string): Promise<void> {
    const parsed = parseChannel(channel);
    const users =
      parsed?.kind === 'direct' ? [parsed.a, parsed.b] : (await this.client.members(channel)).map(({ user }) => user);
    this.channel = channel;
    this.typing.clear();
    this.watch(users);
  }

  leave(): void {
    this.channel = undefined;
    this.watch([]);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** `bob (admin, online)` */
  named({ user, role }: Members['members'][number]): string {
    const facts = [role === 'member' ? null : role, this.isOnline(user) ? 'online' : null];
    const said = facts.filter((fact) => fact !== null).join(', ');
    return said === '' ? user : `${user} (${said})`;
  }

  /** Empty where there is nobody else. Ids and words alone: nothing that a terminal could take for a command. */
  status(): string {
    if (!this.connected) return 'not connected';
    const [first] = this.others;
    if (this.channel === undefined || first === undefined) return '';
    const typing = [...this.typing].filter((user) => this.others.includes(user));
    if (parseChannel(this.channel)?.kind === 'direct') return typing.length > 0 ? typed(typing) : this.about(first);
    const online = this.others.filter((user) => this.isOnline(user)).length;
    const count = `${online} of ${this.others.length} others online`;
    return typing.length > 0 ? `${count}, ${typed(typing)}` : count;
  }

  /** The other one of the direct channel that is shown. */
  isPeer(user: string): boolean {
    return this.channel?.startsWith('dm:') === true && this.others.includes(user);
  }

  /** Of one person: `bob is online`. */
  about(user: string): string {
    const { status, lastSeen = null } = this.client.presence(user) ?? {};
    if (status === 'online') return `${user} is online`;
    return lastSeen === null ? `${user} is offline` : `${user} was last seen ${ago(lastSeen)}`;
  }

  private isOnline(user: string): boolean {
    return this.client.presence(user)?.status === 'online';
  }

  /**
   * Strangers read as offline, and the server looks only once a minute whether they still are. Whoever has received
   * something here, or written, is none.
   */
  private met(user: string): void {
    if (!this.others.includes(user) || this.client.presence(user)?.lastSeen !== null) return;
    this.client.unwatch([user]);
    this.client.watch([user]);
  }

  private watch(users: readonly string[]): void {
    const before = this.others;
    this.others = [...new Set(users)].filter((user) => user !== this.me);
    this.client.unwatch(before.filter((user) => !this.others.includes(user)));
    // Of a group larger than a session may watch, some count as offline.
    this.client.watch(this.others.slice(0, this.limit));
    this.changed();
  }

  private connection(up: boolean): void {
    this.connected = up;
    // What was said before the break may never be taken back.
    this.typing.clear();
    this.changed();
  }
}

function typed(users: readonly string[]): string {
  const [first, second] = users;
  if (second === undefined) return `${first} is typing…`;
  return users.length === 2 ? `${first} and ${second} are typing…` : `${users.length} are typing…`;
}
