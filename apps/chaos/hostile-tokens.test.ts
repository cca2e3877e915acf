/** Who says wrongly who they are stays outside, or is put there. */
import jsonwebtoken from 'jsonwebtoken';
import { describe, expect, it } from 'vitest';
import { signToken } from '../../lib/auth/index.ts';
import { endOf, hostilities, refused } from './hostile.ts';
import { RawSession } from './raw-session.ts';

const here = hostilities();

describe('tokens', () => {
  const claims = (sub: string, ttlS = 3600) => ({ sub, exp: Math.floor(Date.now() / 1000) + ttlS });
  const bad = (): [string, string][] => [
    ['empty', ''],
    ['no token', 'abc'],
    ['dots', '..'],
    ['unsigned', jsonwebtoken.sign(claims('hostile'), '', { algorithm: 'none' })],
    ['foreign', signToken({ user: 'hostile', ttlS: 60 }, 'another secret, just as long as the right one')],
    ['expired', expired()],
    ['signature cut off', here.stage.deployment.token('hostile').replace(/\.[^.]*$/, '.')],
    ['other claims under a good signature', swapped()],
    ['long', 'x'.repeat(9000)],
  ];
  const secret = 'a secret for tests only, thirty-two bytes and more';
  const expired = () => jsonwebtoken.sign(claims('hostile', -1), secret);
  function swapped(): string {
    const [head, , signature] = here.stage.deployment.token('hostile').split('.');
    return [head, Buffer.from(JSON.stringify(claims('victim'))).toString('base64url'), signature].join('.');
  }

  it('in hello: unauthenticated, then 4001', async () => {
    const hellos: unknown[] = bad().map(([, token]) => ({ type: 'hello', device: 'phone', token }));
    for (const token of [null, 5, {}, [], '\ud800', undefined]) hellos.push({ type: 'hello', device: 'phone', token });
    for (const hello of hellos) {
      const session = await RawSession.open(here.stage.gateway(0));
      session.send(hello);
      expect([hello, await endOf(session)]).toEqual([hello, 4001]);
      expect(session.frames).toMatchObject([{ type: 'error', code: 'unauthenticated' }]);
    }
  });

  it('in the upgrade: 401 with the error, no upgrade', async () => {
    const url = here.stage.gateway(0).webSocketUrl;
    for (const [name, token] of bad()) {
      const error = await RawSession.open(url, { authorization: `Bearer ${token}` }).catch((e: unknown) => String(e));
      expect([name, error]).toEqual([name, 'Error: Unexpected server response: 401']);
    }
    const authorization = `Basic ${here.stage.deployment.token('hostile')}`;
    await expect(RawSession.open(url, { authorization })).rejects.toThrow('401');
    const plain = await fetch(`${here.stage.gateway(0).address}/v1/conversations`, {
      headers: { authorization: `Bearer ${expired()}` },
    });
    expect([plain.status, await plain.json()]).toMatchObject([401, { error: { code: 'unauthenticated' } }]);
  });

  it('in both, of one user: welcome; of different users: 4001', async () => {
    const authorization = `Bearer ${here.stage.deployment.token('hostile')}`;
    const good = await RawSession.open(here.stage.gateway(0), { authorization });
    good.hello(here.stage.deployment.token('hostile'));
    await good.next('welcome', { user: 'hostile' });
    await good.close();
    const header = await RawSession.open(here.stage.gateway(0), { authorization });
    header.send({ type: 'hello', device: 'phone' });
    await header.next('welcome', { user: 'hostile' });
    await header.close();
    const different = await RawSession.open(here.stage.gateway(0), { authorization });
    different.hello(here.stage.deployment.token('victim'));
    expect(await endOf(different)).toBe(4001);
    expect(different.frames).toMatchObject([{ type: 'error', code: 'unauthenticated' }]);
  });

  it('acting for another user without admin: forbidden, then 4001', async () => {
    const session = await RawSession.open(here.stage.gateway(0));
    session.send({ type: 'hello', device: 'phone', token: here.stage.deployment.token('hostile'), user: 'victim' });
    expect(await endOf(session)).toBe(4001);
    expect(session.frames).toMatchObject([{ type: 'error', code: 'forbidden' }]);
  });

  it('refresh: wrongly typed is bad_frame, bad or another user’s is 4001, a newer one holds', async () => {
    const session = await here.start('hostile');
    expect(await refused(session, '{"type":"refresh","token":5}')).toMatchObject({ code: 'bad_frame' });
    session.send({ type: 'refresh', token: here.stage.deployment.token('hostile'), ref: 'good' });
    await session.next('refreshed', { ref: 'good' });
    session.send({ type: 'refresh', token: here.stage.deployment.token('victim') });
    expect(await endOf(session)).toBe(4001);
    for (const token of [expired(), '', '\ud800', 'x'.repeat(9000)]) {
      const other = await here.start('hostile');
      other.send({ type: 'refresh', token });
      expect([token, await endOf(other)]).toEqual([token, 4001]);
    }
  });

  it('a session ends within five seconds of its token', async () => {
    const session = await RawSession.open(here.stage.gateway(0));
    session.hello(jsonwebtoken.sign(claims('shortlived', 2), secret));
    await session.next('live');
    const since = performance.now();
    expect(await endOf(session)).toBe(4001);
    expect(performance.now() - since).toBeLessThan(7_000);
  });

  /** At the upgrade, in hello and over HTTP: whether the three agree, and on what. */
  async function letIn(token: string): Promise<boolean> {
    const headers = { authorization: `Bearer ${token}` };
    const upgraded = await RawSession.open(here.stage.gateway(0), headers).then(
      (session) => session.close().then(() => true),
      () => false,
    );
    const session = await RawSession.open(here.stage.gateway(1));
    session.hello(token);
    const welcomed = await session.next('welcome').then(
      () => session.close().then(() => true),
      () => false,
    );
    const { status } = await fetch(`${here.stage.gateway(1).address}/v1/devices`, { headers });
    expect([upgraded, welcomed, status]).toEqual([welcomed, welcomed, welcomed ? 200 : 401]);
    return welcomed;
  }

  it('claims: sub and exp are needed, nbf and iat have five seconds of leeway, exp has none', async () => {
    const inS = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;
    const sign = (claims: object, algorithm: jsonwebtoken.Algorithm = 'HS256') =>
      jsonwebtoken.sign(claims, secret, { algorithm, noTimestamp: !('iat' in claims) });
    const exp = inS(3600);
    const cases: [string, string, boolean][] = [
      ['just these', sign({ sub: 'hostile', exp }), true],
      ['no exp', sign({ sub: 'hostile' }), false],
      ['no sub', sign({ exp }), false],
      ['an empty sub', sign({ sub: '', exp }), false],
      ['a sub that is no user id', sign({ sub: 'a:b', exp }), false],
      ['a long sub', sign({ sub: 'x'.repeat(65), exp }), false],
      ['valid in four seconds', sign({ sub: 'hostile', exp, nbf: inS(4), iat: inS(4) }), true],
      ['not valid yet', sign({ sub: 'hostile', exp, nbf: inS(60) }), false],
      ['issued in the future', sign({ sub: 'hostile', exp, iat: inS(60) }), false],
      ['over since a second', sign({ sub: 'hostile', exp: inS(-1) }), false],
      ['HS384', sign({ sub: 'hostile', exp }, 'HS384'), false],
      ['HS512', sign({ sub: 'hostile', exp }, 'HS512'), false],
    ];
    for (const [name, token, good] of cases) expect([name, await letIn(token)]).toEqual([name, good]);
  });

  it('a service token is one with a word of scope that is exactly admin; others act for nobody', async () => {
    const scopes: [unknown, boolean][] = [
      ['admin', true],
      ['read admin write', true],
      [['read', 'admin'], true],
      ['administrator', false],
      ['admin:read', false],
      ['Admin', false],
      ['read,admin', false],
      [['admin read'], false],
      [{ admin: true }, false],
      [true, false],
      [undefined, false],
    ];
    for (const [scope, good] of scopes) {
      const token = jsonwebtoken.sign({ ...claims('backend'), ...(scope === undefined ? {} : { scope }) }, secret);
      const headers = { authorization: `Bearer ${token}`, 'millrace-user': 'ward' };
      const { status } = await fetch(`${here.stage.gateway(0).address}/v1/devices`, { headers });
      expect([scope, status]).toEqual([scope, good ? 200 : 403]);
      const session = await RawSession.open(here.stage.gateway(1));
      session.send({ type: 'hello', token, device: 'phone', user: 'ward' });
      if (good) {
        await session.next('welcome', { user: 'ward' });
        await session.close();
      } else {
        expect(await endOf(session)).toBe(4001);
        expect(session.frames).toMatchObject([{ type: 'error', code: 'forbidden' }]);
      }
      const own = await RawSession.open(here.stage.gateway(0));
      own.hello(token);
      await own.next('welcome', { user: 'backend' });
      await own.close();
    }
  });
});
