/** A user's presence as the store has it (`presence:{u}:<user>`), and as its changes are said on the channel of that name. */
import type { PresenceFrame } from '../../lib/protocol/frames.ts';
import type { GatewayContext } from './context.ts';

export interface Presence {
  readonly status: PresenceFrame['status'];
  /** Unix ms: online since, or last seen; null: never. */
  readonly lastSeen: number | null;
}

/** Also of whom one may not see. */
export const UNKNOWN: Presence = { status: 'offline', lastSeen: null };

/** In the order of the users. */
export async function readPresence(ctx: GatewayContext, users: readonly string[]): Promise<Presence[]> {
  const { command } = ctx.store;
  const stored = await Promise.all(users.map((user) => command.hmget(ctx.keys.presence(user), 'status', 'since')));
  return stored.map(([status, since]) => presenceOf(status, since));
}

/** `online <since>` or `offline <last seen>`. */
export function parsePresence(message: string): Presence {
  const [status, since] = message.split(' ');
  return presenceOf(status, since);
}

function presenceOf(status: string | null | undefined, since: string | null | undefined): Presence {
  return { status: status === 'online' ? 'online' : 'offline', lastSeen: since ? Number(since) : null };
}

export function samePresence(a: Presence, b: Presence): boolean {
  return a.status === b.status && a.lastSeen === b.lastSeen;
}
