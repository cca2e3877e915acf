import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../ops/until.ts';
import { AuthError, createVerifier, KeysUnavailableError, type TokenVerifier } from './index.ts';
import { ecKey, edKey, good, type Issuer, publicJwk, rsaKey, signed, startIssuer } from './testing.ts';

const first = ecKey();
const second = ecKey();
let issuer: Issuer;
let verifiers: TokenVerifier[];
let fetches: string[];

beforeEach(async () => {
  issuer = await startIssuer([publicJwk(first, { kid: 'first' })]);
  verifiers = [];
  fetches = [];
});
afterEach(async () => {
  for (const verifier of verifiers) verifier.close();
  await issuer.leave();
});

/** Nothing happens by the clock alone unless a test says so. */
const patient = { cooldownMs: 0, retryMs: 0, refreshMs: 3_600_000, timeoutMs: 2000 };

function verifierWith(times: Partial<typeof patient> = {}): TokenVerifier {
  const onFetch = (result: string) => void fetches.push(result);
  const verifier = createVerifier({ jwksUrl: issuer.url, times: { ...patient, ...times }, onFetch });
  verifiers.push(verifier);
  return verifier;
}

const tokenOf = (key: Parameters<typeof signed>[2], kid?: string, sub = 'alice') =>
  signed({ ...good(), sub }, 'ES256', key, kid === undefined ? {} : { kid });
const refused = (promise: Promise<unknown>) => expect(promise).rejects.toBeInstanceOf(AuthError);
const unavailable = (promise: Promise<unknown>) => expect(promise).rejects.toBeInstanceOf(KeysUnavailableError);

describe('the keys of an issuer', () => {
  test('are fetched once, for however many tokens come at once', async () => {
    const verifier = verifierWith();
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, i) => tokenOf(first, 'first', `user-${i}`)));
    const users = await Promise.all(tokens.map((token) => verifier.verify(token)));
    expect(users[49]?.user).toBe('user-49');
    expect(issuer.asked).toBe(1);
  });

  test('serve RS256, ES256 and EdDSA side by side, chosen by kid', async () => {
    const [rsa, ed] = [rsaKey(), edKey()];
    issuer.keys.push(publicJwk(rsa, { kid: 'r', alg: 'RS256', use: 'sig' }), publicJwk(ed, { kid: 'e' }));
    const verifier = verifierWith();
    expect((await verifier.verify(await signed(good(), 'RS256', rsa, { kid: 'r' }))).user).toBe('alice');
    expect((await verifier.verify(await signed(good(), 'EdDSA', ed, { kid: 'e' }))).user).toBe('alice');
    expect((await verifier.verify(await tokenOf(first, 'first'))).user).toBe('alice');
    // The kid of another key, an algorithm of another kind.
    await refused(verifier.verify(await tokenOf(second, 'first')));
    await refused(verifier.verify(await signed(good(), 'PS256', rsa, { kid: 'r' })));
    await refused(verifier.verify(await signed(good(), 'RS256', rsa, { kid: 'first' })));
  });

  test('rotate: a new kid is fetched when a token names it', async () => {
    const verifier = verifierWith();
    await verifier.verify(await tokenOf(first, 'first'));
    issuer.keys = [publicJwk(first, { kid: 'first' }), publicJwk(second, { kid: 'second' })];
    expect((await verifier.verify(await tokenOf(second, 'second'))).user).toBe('alice');
    expect(issuer.asked).toBe(2);
  });

  test('that were withdrawn are refused, also for tokens that were good before', async () => {
    const verifier = verifierWith();
    const token = await tokenOf(first, 'first');
    await verifier.verify(token);
    issuer.keys = [publicJwk(second, { kid: 'second' })];
    await verifier.verify(await tokenOf(second, 'second'));
    await refused(verifier.verify(token));
  });

  test('are refreshed by the clock, so that a withdrawn key does not live on in a quiet gateway', async () => {
    const verifier = verifierWith({ refreshMs: 50 });
    const token = await tokenOf(first, 'first');
    await verifier.verify(token);
    issuer.keys = [publicJwk(second, { kid: 'second' })];
    const end = () => verifier.verify(token).then(String, (error: Error) => error.name);
    await until('the old key is refused', 5000, end, (name) => name === 'AuthError');
  });

  test('unknown kids do not hammer the issuer', async () => {
    const verifier = verifierWith({ cooldownMs: 60_000 });
    await verifier.verify(await tokenOf(first, 'first'));
    for (let i = 0; i < 40; i++) await refused(verifier.verify(await tokenOf(second, `made up ${i}`)));
    expect(issuer.asked).toBe(1);
  });
});

describe('an issuer that is away', () => {
  test('changes nothing for the keys that are known', async () => {
    const verifier = verifierWith({ refreshMs: 30, retryMs: 10 });
    await verifier.verify(await tokenOf(first, 'first'));
    await issuer.leave();
    await until(
      'a refresh failed',
      5000,
      async () => fetches.at(-1),
      (result) => result === 'failed',
    );
    expect((await verifier.verify(await tokenOf(first, 'first', 'bob'))).user).toBe('bob');
    await issuer.listen();
  });

  test('makes tokens of unknown keys unavailable, not bad: they may be good', async () => {
    const verifier = verifierWith();
    await verifier.verify(await tokenOf(first, 'first'));
    await issuer.leave();
    issuer.keys.push(publicJwk(second, { kid: 'second' }));
    await unavailable(verifier.verify(await tokenOf(second, 'second')));
    await issuer.listen();
    expect((await verifier.verify(await tokenOf(second, 'second'))).user).toBe('alice');
  });

  test('from the start: the verifier is made, and works once the issuer is there', async () => {
    await issuer.leave();
    const verifier = verifierWith({ retryMs: 20 });
    await unavailable(verifier.verify(await tokenOf(first, 'first')));
    await issuer.listen();
    const token = await tokenOf(first, 'first');
    const outcome = () =>
      verifier.verify(token).then(
        ({ user }) => user,
        (error: Error) => error.name,
      );
    await until('the keys are there', 5000, outcome, (user) => user === 'alice');
  });

  test('is asked no more often than the pause after a failure allows, whatever tokens come', async () => {
    issuer.answer = (_request, response) => void response.writeHead(500).end();
    const verifier = verifierWith({ retryMs: 60_000 });
    for (let i = 0; i < 40; i++) await unavailable(verifier.verify(await tokenOf(second, `kid ${i}`)));
    expect(issuer.asked).toBe(1);
  });
});

describe('an issuer that answers badly', () => {
  const answers: [string, Issuer['answer']][] = [
    ['an error', (_, response) => void response.writeHead(503).end('{"keys":[]}')],
    ['a redirection', (_, response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    ['no JSON', (_, response) => void response.end('<html>')],
    ['null', (_, response) => void response.end('null')],
    ['no keys', (_, response) => void response.end('{"keys":[]}')],
    ['keys that are none', (_, response) => void response.end('{"keys":[null,5,"x",{"kty":"oct","k":"c2VjcmV0"}]}')],
    ['a polluting object', (_, response) => void response.end('{"__proto__":{"keys":[{}]},"keys":{"length":1}}')],
    [
      'more than is sensible',
      (_, response) => {
        response.write('{"keys":[');
        const more = () => {
          while (response.write('x'.repeat(65_536)));
        };
        response.on('drain', more);
        more();
      },
    ],
    ['nothing, for ever', () => undefined],
    [
      'a byte now and then',
      (_, response) => {
        response.write('{');
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(timer));
      },
    ],
  ];
  test.each(answers)('%s: the last good keys serve on, within the time-out', async (_, answer) => {
    const verifier = verifierWith({ timeoutMs: 300 });
    await verifier.verify(await tokenOf(first, 'first'));
    issuer.answer = answer;
    const began = performance.now();
    await unavailable(verifier.verify(await tokenOf(second, 'second')));
    expect(performance.now() - began).toBeLessThan(2000);
    expect((await verifier.verify(await tokenOf(first, 'first', 'bob'))).user).toBe('bob');
  });

  test('a symmetric or private key in the set is never used', async () => {
    const secret = Buffer.from('a secret that is at least thirty-two bytes long');
    issuer.keys.push({ kty: 'oct', kid: 'oct', k: secret.toString('base64url'), alg: 'HS256' });
    issuer.keys.push({ ...second.export({ format: 'jwk' }), kid: 'private' } as (typeof issuer.keys)[0]);
    const verifier = verifierWith();
    const { createSecretKey } = await import('node:crypto');
    await refused(verifier.verify(await signed(good(), 'HS256', createSecretKey(secret), { kid: 'oct' })));
    await refused(verifier.verify(await tokenOf(second, 'private')));
  });

  test('a token without kid is refused where it could be of several keys', async () => {
    issuer.keys.push(publicJwk(second, { kid: 'second' }));
    const verifier = verifierWith();
    await refused(verifier.verify(await tokenOf(first)));
    issuer.keys = [publicJwk(first, { kid: 'first' })];
    expect((await verifierWith().verify(await tokenOf(first))).user).toBe('alice');
  });
});
