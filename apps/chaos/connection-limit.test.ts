import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2, { env: { LIMIT_CONNECTIONS_PER_MIN: '30', TRUST_PROXY: 'loopback' } });
});
afterAll(() => stage?.clear());

/** How the upgrades end that this client address asks for, in turn of both gateways. */
async function connect(count: number, ip?: string): Promise<string[]> {
  const ends: string[] = [];
  for (let i = 0; i < count; i++) {
    const headers: Record<string, string> = ip === undefined ? {} : { 'x-forwarded-for': ip };
    await RawSession.open(stage.gateway(i), headers).then(
      (session) => {
        ends.push('open');
        return session.close();
      },
      (error: Error) => void ends.push(error.message),
    );
  }
  return ends;
}

/** The answer to an upgrade that is refused. */
async function upgrade(url: string, ip: string): Promise<IncomingMessage> {
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    'x-forwarded-for': ip,
  };
  const [response] = (await once(get(url, { headers }), 'response')) as [IncomingMessage];
  return response;
}

it('one address opens thirty connections a minute over all gateways; the others are 429 before the upgrade', async () => {
  const ends = await connect(34, '198.51.100.7');
  expect(ends.slice(0, 30)).toEqual(Array.from({ length: 30 }, () => 'open'));
  expect(ends.slice(30)).toEqual(Array.from({ length: 4 }, () => 'Unexpected server response: 429'));
  const refused = await upgrade(`${stage.gateway(0).address}/v1/ws`, '198.51.100.7');
  expect(refused.statusCode).toBe(429);
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
  expect(await json(refused)).toMatchObject({ error: { code: 'rate_limited', retry_after_ms: expect.any(Number) } });
  expect(await connect(2, '198.51.100.8')).toEqual(['open', 'open']);
});

it('addresses of one IPv6 network count together', async () => {
  for (let i = 0; i < 30; i++) expect(await connect(1, `2001:db8:1:2::${i.toString(16)}`)).toEqual(['open']);
  expect(await connect(1, '2001:db8:1:2:3:4:5:6')).toEqual(['Unexpected server response: 429']);
  expect(await connect(1, '2001:db8:1:3::1')).toEqual(['open']);
});

it('loopback has no limit', async () => {
  expect(new Set(await connect(60))).toEqual(new Set(['open']));
});
