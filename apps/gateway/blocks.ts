/** Who has blocked whom: kept in the direct channel of the two, where a send looks too. */
import { directChannel } from '../../lib/protocol/ids.ts';
import type { GatewayContext } from './context.ts';

/** Those of `others` who block the user, or whom the user blocks: neither sees the other's presence or typing. */
export async function blockedWith(ctx: GatewayContext, user: string, others: readonly string[]): Promise<Set<string>> {
  const { keys, store } = ctx;
  const blocks = await Promise.all(
    others.map((other) =>
      store.command.hmget(keys.channel(directChannel(user, other)), `blocked:${user}`, `blocked:${other}`),
    ),
  );
  return new Set(others.filter((_, i) => blocks[i]?.some((value) => value === '1')));
}
