/**
 * Which of those whom a session watches it may see: asked when it begins to watch them, each minute, and whenever something
 * came that may have changed it.
 *
 * Invariant: looks are numbered as they begin, and one that began earlier is older: what a later one found stands.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { peerOf } from '../../lib/protocol/ids.ts';
import type { StreamEntry } from '../../lib/redis/blocking.ts';
import type { GatewayContext } from './context.ts';
import { SecondLooks } from './second-looks.ts';
import type { Session } from './session.ts';
import { visibleTo } from './visibility.ts';

/** With very many pairs a round of looks takes longer than it is meant to. */
const PAIRS_PER_S = 5000;
/** What so many pairs cost of a round. */
export const paceMs = (pairs: number) => (pairs / PAIRS_PER_S) * 1000;

export class Sights {
  readonly #ctx: GatewayContext;
  readonly #onChange: (session: Session, user: string, visible: boolean) => void;
  readonly #secondLooks = new SecondLooks((session, users) => this.#lookAgain(session, users));
  #looks = 0;

  constructor(ctx: GatewayContext, onChange: (session: Session, user: string, visible: boolean) => void) {
    this.#ctx = ctx;
    this.#onChange = onChange;
  }

  /** The number of a look that begins now. */
  begin(): number {
    return ++this.#looks;
  }

  /** What the look of this number found; returns what stands. */
  note(session: Session, user: string, found: boolean, asOf: number): boolean {
    const sight = session.watching?.get(user);
    if (sight && asOf > sight.asOf) Object.assign(sight, { visible: found, asOf });
    return sight?.visible ?? found;
  }

  async look(session: Session, users: readonly string[]): Promise<void> {
    const { caller } = session;
    if (!caller) return;
    const asOf = this.begin();
    const visible = await visibleTo(this.#ctx, caller.user, users);
    for (const user of users) {
      const before = session.watching?.get(user)?.visible;
      const now = this.note(session, user, visible.has(user), asOf);
      if (before !== undefined && now !== before) this.#onChange(session, user, now);
    }
  }

  /** Who is who to the user of these sessions may have changed: it is looked at again, now and a little later. */
  lookAgain(sessions: Iterable<Session>, user: string): void {
    for (const session of sessions) if (session.watching?.has(user)) this.#secondLooks.soon(session, [user]);
  }

  /** These came to the session, which watches somebody: acquaintances may begin or end with them. */
  met(session: Session, entries: readonly Pick<StreamEntry, 'fields'>[]): void {
    const { watching, caller } = session;
    if (!watching || !caller) return;
    const users = new Set<string>();
    for (const { fields } of entries) {
      const [, type, , channel = ''] = fields;
      if (type === 'message') {
        const peer = peerOf(channel, caller.user);
        if (peer !== undefined && watching.get(peer)?.visible === false) users.add(peer);
      } else if (type === 'created' || type === 'member') {
        const who = type === 'member' ? fields[fields.indexOf('user', 14) + 1] : caller.user;
        if (who === caller.user) for (const user of watching.keys()) users.add(user);
        else if (who !== undefined && watching.has(who)) users.add(who);
      }
    }
    if (users.size > 0) this.#secondLooks.soon(session, users);
  }

  stop(): void {
    this.#secondLooks.stop();
  }

  async #lookAgain(session: Session, users: readonly string[]): Promise<void> {
    try {
      await this.look(session, users);
      await sleep(paceMs(users.length));
    } catch (error) {
      this.#ctx.metrics.retries.of('presence').inc();
      this.#ctx.logger.warn({ err: error }, 'who may see whose presence was not checked; the next look does it');
    }
  }
}
