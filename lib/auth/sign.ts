import { createSecretKey } from 'node:crypto';
import jsonwebtoken from 'jsonwebtoken';

export interface TokenRequest {
  user: string;
  name?: string;
  admin?: boolean;
  /** Seconds from now until it expires. */
  ttlS: number;
}

/** A token as an application's own backend would make it: for development, tests and the command line. */
export function signToken(request: TokenRequest, secret: string): string {
  const nowS = Math.floor(Date.now() / 1000);
  const claims = {
    sub: request.user,
    iat: nowS,
    exp: nowS + request.ttlS,
    ...(request.name === undefined ? {} : { name: request.name }),
    ...(request.admin ? { scope: 'admin' } : {}),
  };
  return jsonwebtoken.sign(claims, createSecretKey(Buffer.from(secret)), { algorithm: 'HS256' });
}
