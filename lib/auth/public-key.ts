/** The issuer's public key, when it is given as one: what it is decides the only algorithm that it is used with. */
import { createPublicKey, type KeyObject } from 'node:crypto';

export interface PublicKey {
  readonly key: KeyObject;
  readonly algorithm: 'RS256' | 'ES256' | 'EdDSA';
}

/** What NIST allows until 2030, and what every library insists on. */
const SMALLEST_RSA_BITS = 2048;

/** Reads a PEM. Throws an Error whose message says what is wrong with it, without showing it. */
export function readPublicKey(pem: string): PublicKey {
  // Node would derive the public half of it; but a private key has no business on a gateway.
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) {
    throw new Error(
      'it is a private key: give the public one (openssl pkey -pubout), and keep this one with the issuer',
    );
  }
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw new Error('it is not a public key in PEM (-----BEGIN PUBLIC KEY-----)');
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'rsa') {
    if ((details?.modulusLength ?? 0) < SMALLEST_RSA_BITS) {
      throw new Error(`an RSA key needs at least ${SMALLEST_RSA_BITS} bits`);
    }
    return { key, algorithm: 'RS256' };
  }
  if (type === 'ec' && details?.namedCurve === 'prime256v1') return { key, algorithm: 'ES256' };
  if (type === 'ed25519') return { key, algorithm: 'EdDSA' };
  throw new Error('its kind is not supported: RSA (for RS256), EC on P-256 (ES256) or Ed25519 (EdDSA)');
}
