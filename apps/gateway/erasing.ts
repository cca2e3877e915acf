/** What is refused while a user is being erased: to act as them, and to put them anywhere. Sessions: see attach.lua. */
import { beingErased } from '../../lib/protocol/errors.ts';
import type { GatewayContext } from './context.ts';

/** Throws MillraceError `unavailable` when any of them is. */
export async function refuseErasing(ctx: GatewayContext, users: readonly string[]): Promise<void> {
  if ((await ctx.accounts.beingErased(users)).length > 0) throw beingErased();
}
