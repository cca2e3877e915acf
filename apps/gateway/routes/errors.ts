/** Every refusal and failure of HTTP as `{"error": {"code", "message", "retry_after_ms"?}}`. */
import type { FastifyError, FastifyInstance } from 'fastify';
import { ArchiveError } from '../../../lib/archive/index.ts';
import { errorBody, MillraceError } from '../../../lib/protocol/errors.ts';
import { asMillraceError } from '../accept.ts';
import type { GatewayContext } from '../context.ts';

const ARCHIVE_RETRY_MS = 2000;

export function errors(app: FastifyInstance, ctx: GatewayContext): void {
  // Before anything of the request is read: an unknown route is that, whatever comes with it.
  app.addHook('onRequest', async (request) => {
    if (request.is404) throw unknownRoute();
  });
  app.setNotFoundHandler(() => {
    throw unknownRoute();
  });
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const error = asRefusal(thrown) ?? asFailure(ctx, thrown, `${request.method} ${request.routeOptions.url ?? ''}`);
    ctx.metrics.errors.of(error.code).inc();
    if (error.code === 'unauthenticated') reply.header('www-authenticate', 'Bearer');
    if (error.retryAfterMs !== undefined) reply.header('retry-after', Math.ceil(error.retryAfterMs / 1000));
    return reply.code(error.status).send(errorBody(error));
  });
}

export function unknownRoute(): MillraceError {
  return new MillraceError('not_found', 'no such route');
}

/** What the request itself is to blame for. */
function asRefusal(thrown: FastifyError): MillraceError | undefined {
  if (thrown instanceof MillraceError) return thrown;
  if (thrown.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new MillraceError('too_large', 'body: over the limit');
  if (thrown.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new MillraceError('bad_request', 'the content type must be application/json', { status: 415 });
  }
  // Such as a body that broke off, or another length than announced.
  const own = thrown.statusCode !== undefined && thrown.statusCode >= 400 && thrown.statusCode < 500;
  return own ? new MillraceError('bad_request', 'the request is malformed', { cause: thrown }) : undefined;
}

function asFailure(ctx: GatewayContext, thrown: Error, doing: string): MillraceError {
  if (thrown instanceof ArchiveError && thrown.retryable) {
    ctx.refusals.warn(thrown, doing, 'the archive did not answer');
    return new MillraceError('unavailable', 'the archive does not answer, try again', {
      retryAfterMs: ARCHIVE_RETRY_MS,
      cause: thrown,
    });
  }
  return asMillraceError(ctx, thrown, doing);
}
