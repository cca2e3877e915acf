import { createHmac, generateKeyPairSync } from 'node:crypto';
import jsonwebtoken from 'jsonwebtoken';
import { describe, expect, test } from 'vitest';
import { AuthError, createVerifier, signToken } from './index.ts';

const secret = 'a secret that is at least thirty-two bytes long';
const nowS = () => Math.floor(Date.now() / 1000);
const verifier = createVerifier({ secret });
const sign = (claims: object, options: jsonwebtoken.SignOptions = {}) =>
  jsonwebtoken.sign(claims, secret, { algorithm: 'HS256', noTimestamp: true, ...options });
const good = () => ({ sub: 'alice', exp: nowS() + 60 });
const refused = (token: string, by = verifier) => expect(by.verify(token)).rejects.toBeInstanceOf(AuthError);
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const raw = (header: unknown, payload: unknown) => {
  const text = `${base64(header)}.${base64(payload)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
};

describe('tokens', () => {
  test('what signToken makes is understood', async () => {
    const token = signToken({ user: 'alice', name: 'Alice', ttlS: 60 }, secret);
    const identity = await verifier.verify(token);
    expect(identity).toMatchObject({ user: 'alice', name: 'Alice', admin: false });
    expect(Math.abs(identity.expiresAt - Date.now() - 60_000)).toBeLessThan(2000);
    expect((await verifier.verify(signToken({ user: 'svc', admin: true, ttlS: 60 }, secret))).admin).toBe(true);
  });

  test('alg none, another HMAC, an asymmetric key and a foreign secret are refused', async () => {
    await refused(`${base64({ alg: 'none', typ: 'JWT' })}.${base64(good())}.`);
    await refused(raw({ alg: 'none' }, good()));
    await refused(jsonwebtoken.sign(good(), secret, { algorithm: 'HS512' }));
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await refused(jsonwebtoken.sign(good(), privateKey, { algorithm: 'RS256' }));
    await refused(jsonwebtoken.sign(good(), 'another secret that is also rather long'));
  });

  test('a public key used as the HMAC secret does not become one', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    const token = signToken({ user: 'alice', ttlS: 60 }, pem);
    await refused(token);
    expect((await createVerifier({ secret: pem }).verify(token)).user).toBe('alice');
  });

  test('rubbish is refused', async () => {
    for (const token of [
      '',
      'a',
      'a.b.c',
      '..',
      'x'.repeat(10_000),
      raw({ alg: 'HS256' }, null),
      raw({ alg: 'HS256' }, 5),
    ]) {
      await refused(token);
    }
    for (const payload of [[], 'text', {}, { sub: 'alice' }]) await refused(raw({ alg: 'HS256', typ: 'JWT' }, payload));
    await refused(raw({ alg: 'HS256', crit: ['b64'], b64: false }, good()));
    await refused(undefined as unknown as string);
  });

  test('sub must be a user id and exp a number', async () => {
    for (const sub of ['', 'a:b', 'a{b}', 'a b', 'x'.repeat(65), 'ünal', 'a\n', 5, null]) {
      await refused(raw({ alg: 'HS256' }, { ...good(), sub }));
    }
    for (const exp of ['9999999999', null, undefined]) await refused(raw({ alg: 'HS256' }, { ...good(), exp }));
  });

  test('exp has no leeway, nbf and iat have five seconds', async () => {
    await refused(sign({ ...good(), exp: nowS() }));
    await refused(sign({ ...good(), exp: nowS() - 1 }));
    expect((await verifier.verify(sign({ ...good(), nbf: nowS() + 4 }))).user).toBe('alice');
    expect((await verifier.verify(raw({ alg: 'HS256' }, { ...good(), iat: nowS() + 4 }))).user).toBe('alice');
    await refused(sign({ ...good(), nbf: nowS() + 8 }));
    await refused(raw({ alg: 'HS256' }, { ...good(), iat: nowS() + 8 }));
    await refused(raw({ alg: 'HS256' }, { ...good(), nbf: 'soon' }));
  });

  test('a remembered token still expires', async () => {
    let now = Date.now();
    const timed = createVerifier({ secret, now: () => now });
    const token = signToken({ user: 'alice', ttlS: 30 }, secret);
    await timed.verify(token);
    await timed.verify(token);
    now += 31_000;
    await refused(token, timed);
    await refused(token, timed);
  });

  test('admin is a word of scope, exactly', async () => {
    const admin = async (scope: unknown) => (await verifier.verify(raw({ alg: 'HS256' }, { ...good(), scope }))).admin;
    for (const scope of ['admin', 'read admin', ['admin'], ['read', 'admin']]) expect(await admin(scope)).toBe(true);
    for (const scope of [
      'administrator',
      'Admin',
      'read,admin',
      '',
      ['read admin'],
      { admin: true },
      true,
      null,
      undefined,
    ]) {
      expect(await admin(scope)).toBe(false);
    }
  });

  test('issuer and audience are checked when configured', async () => {
    const strict = createVerifier({ secret, issuer: 'me', audience: 'chat' });
    expect((await strict.verify(sign({ ...good(), iss: 'me', aud: ['other', 'chat'] }))).user).toBe('alice');
    await refused(sign({ ...good(), iss: 'me' }), strict);
    await refused(sign({ ...good(), aud: 'chat' }), strict);
    await refused(sign({ ...good(), iss: 'you', aud: 'chat' }), strict);
  });

  test('a long or broken name is cut and mended, one that is not text is left out', async () => {
    const name = async (value: unknown) =>
      (await verifier.verify(raw({ alg: 'HS256' }, { ...good(), name: value }))).name;
    expect(await name('é'.repeat(70))).toBe('é'.repeat(64));
    expect(await name('a\ud800b')).toBe('a\ufffdb');
    expect(await name(5)).toBeUndefined();
  });
});
