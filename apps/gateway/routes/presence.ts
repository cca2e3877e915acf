/** `GET /presence`: who is online, asked once; `watch` in a session is for those on one's screen. */
import type { FastifyPluginAsync } from 'fastify';
import { checkQuery } from '../../../lib/protocol/check.ts';
import { type Presence, PresenceQuery } from '../../../lib/protocol/http.ts';
import type { GatewayContext } from '../context.ts';
import { readPresence, UNKNOWN } from '../presence.ts';
import { visibleTo } from '../visibility.ts';
import { callerOf } from './authentication.ts';

export function presence(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/presence', async (request): Promise<Presence> => {
      const { user: watcher } = callerOf(request);
      const users = [...new Set(checkQuery(PresenceQuery, request.query).users)];
      const visible = await visibleTo(ctx, watcher, users);
      const seen = users.filter((user) => visible.has(user));
      const read = await readPresence(ctx, seen);
      return {
        presence: users.map((user) => {
          const { status, lastSeen } = read[seen.indexOf(user)] ?? UNKNOWN;
          return { user, status, last_seen: lastSeen };
        }),
      };
    });
  };
}
