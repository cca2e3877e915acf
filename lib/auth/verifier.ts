/**
 * Who is calling: a JWT becomes an Identity, or an AuthError.
 *
 * A verifier has one kind of key and only the algorithms that fit it; what a token's header says selects among these and
 * never adds to them. So a public key is never an HMAC secret, and `none` is never an algorithm.
 */
import { createSecretKey } from 'node:crypto';
import { type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { AuthError, type Identity, identityOf, LEEWAY_MS } from './identity.ts';
import { type IssuerKeysTimes, issuerKeys, KeysUnavailableError } from './issuer-keys.ts';
import { readPublicKey } from './public-key.ts';

export interface TokenVerifier {
  /**
   * Rejects with AuthError for whatever is wrong with the token (the reason is fit for the client), or with
   * KeysUnavailableError when that cannot be told at present.
   */
  verify(token: string): Promise<Identity>;
  /** Asks the issuer no more. */
  close(): void;
}

/** Exactly one of `secret`, `publicKey` and `jwksUrl`. */
export interface VerifierOptions {
  /** For HS256. */
  secret?: string;
  /** A PEM, for the one algorithm that its kind has here. */
  publicKey?: string;
  /** Where the issuer publishes its public keys, for RS256, ES256 and EdDSA. */
  jwksUrl?: string;
  issuer?: string;
  audience?: string;
  logger?: Logger;
  /** Told of each time the issuer was asked for its keys. */
  onFetch?: (result: 'ok' | 'failed') => void;
  /** Unix milliseconds; the tests' clock. */
  now?: () => number;
  times?: Partial<IssuerKeysTimes>;
}

type Claims = Record<string, unknown>;
/** Rejects when the signature, the algorithm, `iss` or `aud` is wrong. Times are looked at elsewhere. */
type Check = (token: string) => Claims | Promise<Claims>;

/** Longer ones are no tokens of ours, and would only cost a signature. */
const LONGEST_TOKEN = 8192;
/** Of each the claims are kept: reconnects bring the same token again. */
const REMEMBERED_TOKENS = 5000;

export function createVerifier(options: VerifierOptions): TokenVerifier {
  const now = options.now ?? Date.now;
  // Only verified ones are kept, and their expiry is looked at each time.
  const verified = new LRUCache<string, Identity>({ max: REMEMBERED_TOKENS });
  // Raised when keys change: a check that began before must not be remembered after.
  let generation = 0;
  const { check, close } = checkFor(options, now, () => {
    generation++;
    verified.clear();
  });
  return {
    close,
    async verify(token) {
      const known = verified.get(token);
      if (known) {
        if (now() < known.expiresAt) return known;
        verified.delete(token);
        throw new AuthError('the token has expired');
      }
      if (typeof token !== 'string' || token.length > LONGEST_TOKEN) throw new AuthError('this is not a token');
      const began = generation;
      let claims: Claims;
      try {
        claims = await check(token);
      } catch (error) {
        if (error instanceof AuthError || error instanceof KeysUnavailableError) throw error;
        throw new AuthError(`the token is not valid: ${error instanceof Error ? error.message : 'unreadable'}`);
      }
      const identity = identityOf(claims, now());
      if (began === generation) verified.set(token, identity);
      return identity;
    },
  };
}

function checkFor(options: VerifierOptions, now: () => number, forget: () => void): { check: Check; close(): void } {
  const { secret, publicKey, jwksUrl, logger, onFetch, times } = options;
  if ([secret, publicKey, jwksUrl].filter(Boolean).length !== 1) {
    throw new Error('a verifier needs exactly one of a secret, a public key and a JWKS URL');
  }
  if (secret) return { check: hs256(secret, options), close: () => undefined };
  const expected = expectationOf(options);
  if (publicKey) {
    const { key, algorithm } = readPublicKey(publicKey);
    return { check: asymmetric(async () => key, [algorithm], expected, now), close: () => undefined };
  }
  const keys = issuerKeys(new URL(jwksUrl ?? ''), { logger, onChange: forget, onFetch, times });
  return { check: asymmetric(keys.find, ['RS256', 'ES256', 'EdDSA'], expected, now), close: keys.close };
}

const expectationOf = ({ issuer, audience }: VerifierOptions): { issuer?: string; audience?: string } => ({
  ...(issuer === undefined ? {} : { issuer }),
  ...(audience === undefined ? {} : { audience }),
});

function hs256(secret: string, options: VerifierOptions): Check {
  // A KeyObject, so that a secret that looks like a PEM is never taken for a public key.
  const key = createSecretKey(Buffer.from(secret));
  const expected = expectationOf(options);
  return (token) => {
    const { header, payload } = jsonwebtoken.verify(token, key, {
      algorithms: ['HS256'],
      complete: true,
      // The library has one leeway for all times, and does not look at iat.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      ...expected,
    });
    if ('crit' in header) throw new AuthError('the token asks for an extension that is not supported');
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
      throw new AuthError('the token has no claims');
    }
    return payload;
  };
}

function asymmetric(key: JWTVerifyGetKey, algorithms: string[], expected: JWTVerifyOptions, now: () => number): Check {
  return async (token) => {
    // What the library lets pass within the leeway is looked at again, to the millisecond.
    const options = { ...expected, algorithms, clockTolerance: LEEWAY_MS / 1000, currentDate: new Date(now()) };
    return (await jwtVerify(token, key, options)).payload;
  };
}
