/** Who calls: the bearer token, and for service tokens the user they act for. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AuthError } from '../../../lib/auth/index.ts';
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { isUserId } from '../../../lib/protocol/ids.ts';
import type { Caller, GatewayContext } from '../context.ts';

const callers = new WeakMap<FastifyRequest, Caller>();

/** Of a request to a route below `authentication()`. */
export function callerOf(request: FastifyRequest): Caller {
  const caller = callers.get(request);
  if (!caller) throw new Error('a route that needs a caller is outside of authentication');
  return caller;
}

export function authentication(app: FastifyInstance, ctx: GatewayContext): void {
  app.addHook('onRequest', async (request) => {
    callers.set(request, await identify(ctx, request));
  });
}

async function identify(ctx: GatewayContext, request: FastifyRequest): Promise<Caller> {
  const token = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
  if (token === undefined) throw new MillraceError('unauthenticated', 'a bearer token is needed');
  const identity = await ctx.verifier.verify(token).catch((error: unknown) => {
    throw error instanceof AuthError ? new MillraceError('unauthenticated', error.message) : error;
  });
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
