/**
 * Sessions that were sent something and have not acked it in time: a phone in a tunnel looks connected for a minute. The
 * store queues a wake-up for what such a device has not acked, if it has a push token.
 *
 * Each is looked at once; the next frame that it is sent sets its clock again. So a client that never acks costs one look
 * in ten seconds, and none that acks costs any.
 */
import type { GatewayContext } from './context.ts';
import type { Session } from './session.ts';

const PER_CALL = 64;
const AGAIN_MS = 2000;

export async function queueOverdue(ctx: GatewayContext, sessions: readonly Session[]): Promise<void> {
  const groups = new Map<number, Session[]>();
  for (const session of sessions) {
    session.overdueAt = undefined;
    const group = ctx.store.kind === 'cluster' ? (session.feed?.partition ?? 0) : 0;
    const list = groups.get(group);
    if (list) list.push(session);
    else groups.set(group, [session]);
  }
  for (const group of groups.values()) {
    for (let i = 0; i < group.length; i += PER_CALL) {
      const some = group.slice(i, i + PER_CALL).filter((session) => session.feed);
      try {
        await ctx.push.overdue(some.map((s) => ({ user: s.feed?.user ?? '', device: s.device, session: s.id })));
      } catch (error) {
        ctx.metrics.retries.of('overdue').inc();
        ctx.logger.warn({ err: error }, 'queueing what was not acked failed, trying again');
        for (const session of some) session.overdueAt ??= performance.now() + AGAIN_MS;
      }
    }
  }
}
