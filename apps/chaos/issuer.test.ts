/** Tokens of an issuer with a JWKS URL, over the wire: the issuer comes late, rotates, goes away; sessions live on. */
import { createHmac, createPublicKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ecKey, type Issuer, publicJwk, rsaKey, signed, startIssuer } from '../../lib/auth/testing.ts';
import { until } from '../../ops/until.ts';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const first = ecKey();
const second = rsaKey();
let issuer: Issuer;
let stage: Stage;

beforeAll(async () => {
  issuer = await startIssuer([publicJwk(first, { kid: 'first' })]);
  await issuer.leave();
  stage = await Stage.set(1, {
    env: { JWT_SECRET: '', JWT_JWKS_URL: issuer.url, JWT_ISSUER: 'https://issuer.example', JWT_AUDIENCE: 'chat' },
  });
});
afterAll(async () => {
  await stage?.clear();
  await issuer?.leave();
});

interface Wanted {
  ttlS?: number;
  key?: 'first' | 'second';
  scope?: string;
  aud?: string;
}

function token(sub: string, { ttlS = 3600, key = 'first', scope, aud = 'chat' }: Wanted = {}): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + ttlS;
  const claims = { sub, exp, iss: 'https://issuer.example', aud, ...(scope === undefined ? {} : { scope }) };
  return key === 'first'
    ? signed(claims, 'ES256', first, { kid: 'first' })
    : signed(claims, 'RS256', second, { kid: 'second' });
}

async function hello(text: string, fields: object = {}): Promise<RawSession> {
  const session = await RawSession.open(stage.gateway(0));
  session.send({ type: 'hello', device: 'phone', token: text, ...fields });
  return session;
}

async function ended(session: RawSession): Promise<{ code: number; errors: Frame[] }> {
  const { code } = await session.ended;
  return { code, errors: session.of('error') };
}

const conversations = (text: string) =>
  fetch(`${stage.gateway(0).address}/v1/conversations`, { headers: { authorization: `Bearer ${text}` } });

describe('a gateway that starts while its issuer is away', () => {
  it('says so, tells clients to come again, and lets them in once the issuer is there', async () => {
    expect(stage.gateway(0).log.join('\n')).toContain("the issuer's keys cannot be fetched");
    const alice = await token('alice');
    expect(await ended(await hello(alice))).toMatchObject({ code: 1012, errors: [{ code: 'unavailable' }] });
    const answer = await conversations(alice);
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5']);
    expect(await answer.json()).toMatchObject({ error: { code: 'unavailable', retry_after_ms: 5000 } });

    await issuer.listen();
    await until(
      'the gateway notices',
      20_000,
      async () => (await conversations(alice)).status,
      (status) => status === 200,
    );
    await (await hello(alice)).next('live');
  });
});

describe('a session whose tokens end', () => {
  it('is closed 4001 within five seconds of exp, unless it was refreshed', async () => {
    const exp = Date.now() + 3000;
    const left = await hello(await token('left', { ttlS: 3 }));
    const kept = await hello(await token('kept', { ttlS: 3 }));
    await Promise.all([left.next('live'), kept.next('live')]);
    kept.send({ type: 'refresh', token: await token('kept', { ttlS: 600 }), ref: 'r' });
    const refreshed = await kept.next('refreshed', { ref: 'r' });
    expect(Number(refreshed.expires) - Date.now()).toBeGreaterThan(590_000);
    expect((await left.ended).code).toBe(4001);
    expect(Date.now()).toBeGreaterThan(exp - 1000);
    expect(Date.now()).toBeLessThan(exp + 5000);
    await kept.ping('still here');
    await kept.close();
  });

  it('is closed 4001 by a refresh with the token of another user, another audience, or another key', async () => {
    const strangers = [
      await token('bob'),
      await token('alice', { aud: 'other' }),
      await signed({ sub: 'alice', exp: 9e9, iss: 'https://issuer.example', aud: 'chat' }, 'ES256', ecKey(), {
        kid: 'first',
      }),
    ];
    for (const text of strangers) {
      const session = await hello(await token('alice'));
      await session.next('live');
      session.send({ type: 'refresh', token: text, ref: 'bad' });
      expect(await ended(session)).toMatchObject({ code: 4001, errors: [{ code: 'unauthenticated', ref: 'bad' }] });
    }
  });
});

describe('a service token', () => {
  it('acts for a user; a refresh without its right ends that, forbidden and 4001', async () => {
    const session = await hello(await token('service', { scope: 'read admin' }), { user: 'carol' });
    await session.next('welcome', { user: 'carol' });
    session.send({ type: 'refresh', token: await token('service', { scope: 'admin' }), ref: 'still' });
    await session.next('refreshed', { ref: 'still' });
    session.send({ type: 'refresh', token: await token('service'), ref: 'less' });
    expect(await ended(session)).toMatchObject({ code: 4001, errors: [{ code: 'forbidden', ref: 'less' }] });
  });

  it('that is none acts for nobody, not even by name for its own user', async () => {
    for (const scope of [undefined, 'administrator', 'admin,read', 'ADMIN']) {
      for (const user of ['carol', 'dave']) {
        const session = await hello(await token('dave', scope === undefined ? {} : { scope }), { user });
        expect(await ended(session)).toMatchObject({ code: 4001, errors: [{ code: 'forbidden' }] });
      }
    }
  });
});

describe('the algorithm', () => {
  it('is the key’s: HMAC with the published key, and none, are refused at the upgrade, in hello and over HTTP', async () => {
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = { sub: 'alice', exp: 9_999_999_999, iss: 'https://issuer.example', aud: 'chat' };
    const pem = createPublicKey(first).export({ type: 'spki', format: 'pem' }).toString();
    const head = `${part({ alg: 'HS256', kid: 'first' })}.${part(claims)}`;
    const forged = [
      `${head}.${createHmac('sha256', pem).update(head).digest('base64url')}`,
      `${part({ alg: 'none', kid: 'first' })}.${part(claims)}.`,
    ];
    for (const text of forged) {
      expect(await ended(await hello(text))).toMatchObject({ code: 4001, errors: [{ code: 'unauthenticated' }] });
      const upgrade = RawSession.open(stage.gateway(0), { authorization: `Bearer ${text}` });
      await expect(upgrade).rejects.toThrow('401');
      expect((await conversations(text)).status).toBe(401);
    }
  });
});

describe('an issuer that goes away later', () => {
  it('keeps nobody out whose key is known; a refresh with an unknown one leaves the session alive', async () => {
    const session = await hello(await token('erin'));
    await session.next('live');
    await issuer.leave();
    const other = await hello(await token('frank'));
    await other.next('live');
    // Until the cool-down after the last fetch is over, an unknown key is simply none of the issuer's.
    const unknown = await token('erin', { key: 'second' });
    await until(
      'it is asked again',
      20_000,
      async () => (await conversations(unknown)).status,
      (status) => status === 503,
    );
    session.send({ type: 'refresh', token: unknown, ref: 'early' });
    expect(await session.next('error', { ref: 'early' })).toMatchObject({ code: 'unavailable' });
    await session.ping('still here');
    issuer.keys.push(publicJwk(second, { kid: 'second' }));
    await issuer.listen();
    await until(
      'it answers',
      20_000,
      async () => (await conversations(unknown)).status,
      (status) => status === 200,
    );
    session.send({ type: 'refresh', token: unknown, ref: 'late' });
    await session.next('refreshed', { ref: 'late' });
    expect(stage.complaints()).toEqual([]);
  });
});
