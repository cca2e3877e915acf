/** For tests: keys of an issuer, tokens of theirs, and the issuer's web server. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type JWK, type JWTPayload, SignJWT } from 'jose';

export const rsaKey = (): KeyObject => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
export const ecKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
export const edKey = (): KeyObject => generateKeyPairSync('ed25519').privateKey;

export const good = (): { sub: string; exp: number } => ({ sub: 'alice', exp: Math.floor(Date.now() / 1000) + 60 });

export function signed(claims: JWTPayload, alg: string, key: KeyObject, header: object = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg, ...header }).sign(key);
}

export const publicJwk = (key: KeyObject, fields: Partial<JWK> = {}): JWK => ({
  ...(createPublicKey(key).export({ format: 'jwk' }) as JWK),
  ...fields,
});

export interface Issuer {
  readonly url: string;
  /** What it publishes; changed at will. */
  keys: JWK[];
  /** How it answers instead, when set. */
  answer: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** How often it was asked. */
  asked: number;
  /** Nobody listens there any more; `listen` brings it back at the same address. */
  leave(): Promise<void>;
  listen(): Promise<void>;
}

export async function startIssuer(keys: JWK[] = []): Promise<Issuer> {
  const make = () =>
    createServer((request, response) => {
      issuer.asked++;
      if (issuer.answer) return issuer.answer(request, response);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ keys: issuer.keys }));
    });
  let server = make();
  const open = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await open(0);
  const { port } = server.address() as AddressInfo;
  const issuer: Issuer = {
    url: `http://127.0.0.1:${port}/jwks.json`,
    keys,
    answer: undefined,
    asked: 0,
    async leave() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
    async listen() {
      server = make();
      await open(port);
    },
  };
  return issuer;
}
