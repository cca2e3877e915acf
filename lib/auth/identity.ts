/** Who a token says is calling: from claims whose signature was checked to an Identity, or an AuthError. */

export interface Identity {
  readonly user: string;
  /** The sender's name in pushes, at most 64 characters. */
  readonly name?: string;
  /** A service token: may act for any user. */
  readonly admin: boolean;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

export class AuthError extends Error {
  readonly code = 'unauthenticated';
  override readonly name = 'AuthError';
}

/** For `nbf` and `iat`: clocks of issuer and gateway differ. `exp` has no leeway. */
export const LEEWAY_MS = 5000;
const userId = /^[A-Za-z0-9_.-]{1,64}$/;

export function identityOf(claims: Record<string, unknown>, nowMs: number): Identity {
  const { sub, exp, nbf, iat, name, scope } = claims;
  if (typeof sub !== 'string' || !userId.test(sub)) throw new AuthError("the token's sub is not a user id");
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw new AuthError('the token has no exp');
  if (nowMs >= exp * 1000) throw new AuthError('the token has expired');
  for (const [claim, value] of [
    ['nbf', nbf],
    ['iat', iat],
  ] as const) {
    if (value === undefined) continue;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new AuthError(`the token's ${claim} is not a time`);
    if (value * 1000 > nowMs + LEEWAY_MS) throw new AuthError('the token is not valid yet');
  }
  const identity = { user: sub, admin: isAdmin(scope), expiresAt: exp * 1000 };
  const shown = typeof name === 'string' ? [...name.toWellFormed()].slice(0, 64).join('') : '';
  return shown === '' ? identity : { ...identity, name: shown };
}

/** RFC 8693's space-separated string, or the array that some issuers write; a word must be exactly `admin`. */
function isAdmin(scope: unknown): boolean {
  if (typeof scope === 'string') return scope.split(' ').includes('admin');
  return Array.isArray(scope) && scope.includes('admin');
}
