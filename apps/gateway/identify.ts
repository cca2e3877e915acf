/** Whose token it is, with the refusal that a client is told when it is nobody's. */
import { AuthError, type Identity, KeysUnavailableError } from '../../lib/auth/index.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import type { GatewayContext } from './context.ts';

const KEYS_RETRY_MS = 5000;

export async function identify(ctx: GatewayContext, token: string): Promise<Identity> {
  try {
    return await ctx.verifier.verify(token);
  } catch (error) {
    if (error instanceof AuthError) throw new MillraceError('unauthenticated', error.message);
    // Not `unauthenticated`: that is final for a client, and this passes.
    if (error instanceof KeysUnavailableError) {
      throw new MillraceError('unavailable', error.message, { retryAfterMs: KEYS_RETRY_MS, cause: error });
    }
    throw error;
  }
}

/** The token of an Authorization header; undefined when the header has another form. */
export function bearerOf(header: string): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header)?.[1];
}
