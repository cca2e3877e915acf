import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import jsonwebtoken from 'jsonwebtoken';
import { describe, expect, test } from 'vitest';
import { AuthError, createVerifier, readPublicKey } from './index.ts';
import { ecKey, edKey, good, rsaKey, signed } from './testing.ts';

const spki = (key: KeyObject) => createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
const kinds = [
  { alg: 'RS256', key: rsaKey() },
  { alg: 'ES256', key: ecKey() },
  { alg: 'EdDSA', key: edKey() },
] as const;
const refused = (token: string, verifier: ReturnType<typeof createVerifier>) =>
  expect(verifier.verify(token)).rejects.toBeInstanceOf(AuthError);

describe.each(kinds)('$alg with a public key', ({ alg, key }) => {
  const pem = spki(key);
  const verifier = createVerifier({ publicKey: pem });

  test('a token of the private key is understood', async () => {
    const token = await signed({ ...good(), name: 'Alice', scope: ['admin'] }, alg, key);
    expect(await verifier.verify(token)).toMatchObject({ user: 'alice', name: 'Alice', admin: true });
  });

  test('no other algorithm is', async () => {
    for (const other of kinds) {
      if (other.alg !== alg) await refused(await signed(good(), other.alg, other.key), verifier);
    }
    const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    await refused(`${base64({ alg: 'none' })}.${base64(good())}.`, verifier);
    await refused(`${base64({ alg: 'None' })}.${base64(good())}.`, verifier);
  });

  test('the public key as an HMAC secret signs nothing', async () => {
    for (const secret of [pem, pem.trim(), createPublicKey(pem).export({ type: 'spki', format: 'der' })]) {
      const text = `${Buffer.from('{"alg":"HS256"}').toString('base64url')}.${Buffer.from(JSON.stringify(good())).toString('base64url')}`;
      await refused(`${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`, verifier);
    }
  });

  test('the token of another key, and one whose claims were changed, are refused', async () => {
    const other = { RS256: rsaKey, ES256: ecKey, EdDSA: edKey }[alg]();
    await refused(await signed(good(), alg, other), verifier);
    const [header, , signature] = (await signed(good(), alg, key)).split('.');
    const forged = Buffer.from(JSON.stringify({ ...good(), sub: 'mallory' })).toString('base64url');
    await refused(`${header}.${forged}.${signature}`, verifier);
  });

  test('a key that the token brings along is not looked at', async () => {
    const own = { RS256: rsaKey, ES256: ecKey, EdDSA: edKey }[alg]();
    const jwk = createPublicKey(own).export({ format: 'jwk' });
    await refused(await signed(good(), alg, own, { jwk }), verifier);
    await refused(await signed(good(), alg, own, { jku: 'https://mallory.example/keys' }), verifier);
  });

  test('times, issuer and audience are those of every token', async () => {
    const nowS = Math.floor(Date.now() / 1000);
    await refused(await signed({ ...good(), exp: nowS }, alg, key), verifier);
    await refused(await signed({ ...good(), nbf: nowS + 8 }, alg, key), verifier);
    await refused(await signed({ ...good(), iat: nowS + 8 }, alg, key), verifier);
    expect(await verifier.verify(await signed({ ...good(), nbf: nowS + 4, iat: nowS + 4 }, alg, key))).toBeDefined();
    await refused(await signed({ sub: 'alice' }, alg, key), verifier);
    const strict = createVerifier({ publicKey: pem, issuer: 'me', audience: 'chat' });
    expect(await strict.verify(await signed({ ...good(), iss: 'me', aud: ['chat', 'x'] }, alg, key))).toBeDefined();
    await refused(await signed({ ...good(), iss: 'me', aud: 'x' }, alg, key), strict);
    await refused(await signed({ ...good(), aud: 'chat' }, alg, key), strict);
  });
});

test('exp has no leeway: a token is good until the very millisecond', async () => {
  const { key } = kinds[1];
  const exp = Math.floor(Date.now() / 1000) + 30;
  const token = await signed({ sub: 'alice', exp }, 'ES256', key);
  const at = (now: number) => createVerifier({ publicKey: spki(key), now: () => now }).verify(token);
  expect((await at(exp * 1000 - 1)).user).toBe('alice');
  await expect(at(exp * 1000)).rejects.toBeInstanceOf(AuthError);
});

test('RS384, RS512 and PS256 are refused although the key could check them', async () => {
  const { key } = kinds[0];
  const verifier = createVerifier({ publicKey: spki(key) });
  for (const algorithm of ['RS384', 'RS512', 'PS256'] as const) {
    await refused(jsonwebtoken.sign(good(), key, { algorithm }), verifier);
  }
});

test('keys that are not fit are refused with what is wrong, and never shown', () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const secretPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const fault = (pem: string): string => {
    try {
      readPublicKey(pem);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error('it was accepted');
  };
  expect(fault(secretPem)).toMatch(/private key/);
  expect(fault(secretPem)).not.toContain(secretPem.slice(40, 80));
  expect(fault('nonsense')).toMatch(/PEM/);
  expect(fault(spki(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey))).toMatch(/2048/);
  expect(fault(spki(generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey))).toMatch(/not supported/);
  expect(fault(spki(generateKeyPairSync('ed448').privateKey))).toMatch(/not supported/);
});

test('exactly one kind of key is configured', () => {
  const publicKey = spki(kinds[0].key);
  expect(() => createVerifier({})).toThrow(/exactly one/);
  expect(() => createVerifier({ secret: 'x'.repeat(32), publicKey })).toThrow(/exactly one/);
  expect(() => createVerifier({ publicKey, jwksUrl: 'https://issuer.example' })).toThrow(/exactly one/);
});
