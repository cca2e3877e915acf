/** Sends over HTTP come out of the same bucket as those of the user's sessions, and are told what is left in it. */
import type { FastifyInstance } from 'fastify';
import type { GatewayContext } from '../context.ts';
import { callerOf } from './authentication.ts';

/** For the plugins whose routes all send: messages, edits and deletes. */
export function limitSends(app: FastifyInstance, { limits }: GatewayContext): void {
  app.addHook('preHandler', async (request, reply) => {
    const { user } = callerOf(request);
    try {
      limits.send(user);
    } finally {
      const { limit, remaining, resetS } = limits.sendsLeft(user);
      reply.headers({ 'ratelimit-limit': limit, 'ratelimit-remaining': remaining, 'ratelimit-reset': resetS });
    }
  });
}
