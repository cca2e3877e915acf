/**
 * Who is calling: a JWT becomes an Identity, or an AuthError. Only HS256 with the shared secret so far; `verify` is
 * asynchronous because a key that is fetched by its `kid` will be.
 */
import { createSecretKey } from 'node:crypto';
import jsonwebtoken from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';

export interface Identity {
  readonly user: string;
  /** The sender's name in pushes, at most 64 characters. */
  readonly name?: string;
  /** A service token: may act for any user. */
  readonly admin: boolean;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

export interface TokenVerifier {
  /** Rejects with AuthError for whatever is wrong with the token; the reason is fit for the client. */
  verify(token: string): Promise<Identity>;
}

export class AuthError extends Error {
  readonly code = 'unauthenticated';
  override readonly name = 'AuthError';
}

export interface VerifierOptions {
  secret?: string;
  issuer?: string;
  audience?: string;
  /** Unix milliseconds; the tests' clock. */
  now?: () => number;
}

/** For `nbf` and `iat`: clocks of issuer and gateway differ. `exp` has no leeway. */
const leewayMs = 5000;
/** Longer ones are no tokens of ours, and would only cost an HMAC. */
const longestToken = 8192;
const userId = /^[A-Za-z0-9_.-]{1,64}$/;

export function createVerifier(options: VerifierOptions): TokenVerifier {
  if (!options.secret) throw new Error('a verifier needs a secret: set JWT_SECRET');
  // A KeyObject, so that a secret that looks like a PEM is never taken for a public key.
  const key = createSecretKey(Buffer.from(options.secret));
  const now = options.now ?? Date.now;
  // Reconnects bring the same token again. Only verified ones are kept, and their expiry is looked at each time.
  const verified = new LRUCache<string, Identity>({ max: 5000 });

  const check = (token: string): Identity => {
    let payload: jsonwebtoken.JwtPayload;
    try {
      const decoded = jsonwebtoken.verify(token, key, {
        algorithms: ['HS256'],
        complete: true,
        // Times are checked below: the library has one leeway for all of them, and does not look at iat.
        ignoreExpiration: true,
        ignoreNotBefore: true,
        ...(options.issuer === undefined ? {} : { issuer: options.issuer }),
        ...(options.audience === undefined ? {} : { audience: options.audience }),
      });
      if ('crit' in decoded.header) throw new AuthError('the token asks for an extension that is not supported');
      if (typeof decoded.payload !== 'object' || decoded.payload === null || Array.isArray(decoded.payload)) {
        throw new AuthError('the token has no claims');
      }
      payload = decoded.payload;
    } catch (error) {
      if (error instanceof AuthError) throw error;
      throw new AuthError(`the token is not valid: ${error instanceof Error ? error.message : 'unreadable'}`);
    }
    return identityOf(payload, now());
  };

  return {
    verify: async (token) => {
      const known = verified.get(token);
      if (known) {
        if (now() >= known.expiresAt) {
          verified.delete(token);
          throw new AuthError('the token has expired');
        }
        return known;
      }
      if (typeof token !== 'string' || token.length > longestToken) throw new AuthError('this is not a token');
      const identity = check(token);
      verified.set(token, identity);
      return identity;
    },
  };
}

function identityOf(claims: Record<string, unknown>, nowMs: number): Identity {
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
    if (value * 1000 > nowMs + leewayMs) throw new AuthError('the token is not valid yet');
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
