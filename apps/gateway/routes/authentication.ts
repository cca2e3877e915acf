/** Who calls: the bearer token, and for service tokens the user they act for. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { isUserId } from '../../../lib/protocol/ids.ts';
import type { Caller, GatewayContext } from '../context.ts';
import { bearerOf, identify } from '../identify.ts';

const callers = new WeakMap<FastifyRequest, Caller>();

/** Of a request to a route below `authentication()`. */
export function callerOf(request: FastifyRequest): Caller {
  const caller = callers.get(request);
  if (!caller) throw new Error('a route that needs a caller is outside of authentication');
  return caller;
}

export function authentication(app: FastifyInstance, ctx: GatewayContext): void {
  app.addHook('onRequest', async (request, reply) => {
    // What one user may read belongs into nobody's cache.
    reply.header('cache-control', 'no-store');
    callers.set(request, await callerFrom(ctx, request));
  });
}

async function callerFrom(ctx: GatewayContext, request: FastifyRequest): Promise<Caller> {
  const token = bearerOf(request.headers.authorization ?? '');
  if (token === undefined) throw new MillraceError('unauthenticated', 'a bearer token is needed');
  const identity = await identify(ctx, token);
  const actingFor = request.headers['millrace-user'];
  if (actingFor !== undefined) {
    if (!identity.admin) throw new MillraceError('forbidden', 'only a service token acts for others');
    if (typeof actingFor !== 'string' || !isUserId(actingFor)) {
      throw new MillraceError('bad_request', 'Millrace-User: not a user id');
    }
    if (actingFor !== identity.user) return { user: actingFor, service: true };
  }
  const { user, name, admin } = identity;
  return { user, service: admin, ...(name === undefined ? {} : { name }) };
}
