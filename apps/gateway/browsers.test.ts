/** What a browser may do, by the page that it shows: origins at the upgrade, CORS, headers; and which proxy is believed. */
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { Config } from '../../lib/config/index.ts';
import { Hub } from './hub.ts';
import { type Api, startApi } from './routes/testing.ts';
import { buildServer } from './server.ts';

let api: Api;
let stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  api = await startApi();
});
afterEach(async () => {
  for (const stop of stops) await stop();
  stops = [];
});
afterAll(() => api?.stop());

interface Gateway {
  port: number;
  /** The status of the answer to an upgrade (101: it was made), its body and its headers. */
  upgrade(headers?: Record<string, string>): Promise<{ status: number; body?: unknown; headers?: unknown }>;
  call(line: string, headers?: Record<string, string>): Promise<{ status: number; body: string; headers: Headers }>;
}

async function gatewayWith(config: Partial<Config>, seen?: (ip: string, host: string) => void): Promise<Gateway> {
  const ctx = { ...api.ctx, config: { ...api.ctx.config, ...config } };
  const hub = new Hub(ctx);
  const { server, stopClock } = await buildServer(ctx, hub);
  if (seen) server.addHook('onRequest', async ({ ip, host }) => seen(ip, host));
  await server.listen({ host: '127.0.0.1', port: 0 });
  stops.push(async () => {
    stopClock();
    for (const session of hub.sessions.values()) session.socket.terminate();
    await server.close();
    await hub.stop();
  });
  const { port } = server.server.address() as AddressInfo;
  return {
    port,
    upgrade: (headers = {}) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, { headers });
        socket.once('open', () => {
          socket.terminate();
          resolve({ status: 101 });
        });
        socket.once('unexpected-response', (_, response) => {
          let text = '';
          response.on('data', (chunk) => (text += chunk));
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: JSON.parse(text), headers: response.headers }),
          );
        });
        socket.once('error', reject);
      }),
    call: (line, headers = {}) =>
      new Promise((resolve, reject) => {
        const [method = 'GET', path = '/'] = line.split(' ');
        // Not fetch: that would keep us from saying who we are.
        request({ host: '127.0.0.1', port, method, path, headers }, (response) => {
          let body = '';
          response.on('data', (chunk) => (body += chunk));
          response.on('end', () => {
            const all = new Headers();
            for (const [name, value] of Object.entries(response.headers)) all.set(name, String(value));
            resolve({ status: response.statusCode ?? 0, body, headers: all });
          });
        })
          .on('error', reject)
          .end();
      }),
  };
}

const refusal = { status: 403, body: { error: { code: 'forbidden', message: expect.any(String) } } };

describe('an upgrade', () => {
  it('in production is for pages of the same host, and for whoever is no browser', async () => {
    const { port, upgrade } = await gatewayWith({ production: true });
    expect((await upgrade()).status).toBe(101);
    expect((await upgrade({ origin: `http://127.0.0.1:${port}` })).status).toBe(101);
    // A proxy that ends TLS before us need not say so.
    expect((await upgrade({ origin: 'https://chat.example', host: 'chat.example' })).status).toBe(101);
    for (const origin of [
      'https://evil.example',
      'http://localhost:3000',
      `http://127.0.0.1:${port + 1}`,
      `http://127.0.0.1:${port}.evil.example`,
      `http://user@127.0.0.1:${port}`,
      `http://127.0.0.1:${port}/`,
      'null',
      '',
      'file://',
      `chrome-extension://127.0.0.1:${port}x`,
      'a'.repeat(4000),
      `https://evil.example, http://127.0.0.1:${port}`,
    ]) {
      expect([origin, await upgrade({ origin })]).toMatchObject([origin, refusal]);
    }
  });

  it('in development is for pages of this machine as well', async () => {
    const { upgrade } = await gatewayWith({ production: false });
    for (const origin of ['http://localhost:3000', 'http://127.0.0.1', 'https://[::1]:8443', 'http://app.localhost']) {
      expect([origin, (await upgrade({ origin })).status]).toEqual([origin, 101]);
    }
    for (const origin of ['https://evil.example', 'http://localhost.evil.example', 'http://127.0.0.1.evil.example']) {
      expect([origin, await upgrade({ origin })]).toMatchObject([origin, refusal]);
    }
  });

  it('with origins configured is for these, exactly', async () => {
    const { upgrade } = await gatewayWith({ allowedOrigins: ['https://app.example'] });
    expect((await upgrade({ origin: 'https://app.example' })).status).toBe(101);
    for (const origin of [
      'http://app.example',
      'https://app.example:444',
      'https://sub.app.example',
      'https://app.example.evil',
      'http://localhost:3000',
    ]) {
      expect([origin, await upgrade({ origin })]).toMatchObject([origin, refusal]);
    }
    const any = await gatewayWith({ allowedOrigins: '*', production: true });
    expect((await any.upgrade({ origin: 'https://whoever.example' })).status).toBe(101);
  });

  it('of a stranger’s page is refused before its token is looked at', async () => {
    const { upgrade } = await gatewayWith({ production: true });
    const headers = { origin: 'https://evil.example', authorization: api.authorization('alice') };
    expect(await upgrade(headers)).toMatchObject(refusal);
  });
});

describe('the HTTP API from another origin', () => {
  const origin = 'https://app.example';
  const preflight = (from: string) => ({
    origin: from,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization,content-type',
  });

  it('answers the preflight and the call of an allowed page, refusals included', async () => {
    const { call } = await gatewayWith({ allowedOrigins: [origin], production: true });
    const asked = await call('OPTIONS /v1/messages', preflight(origin));
    expect(asked.status).toBe(204);
    expect(asked.headers.get('access-control-allow-origin')).toBe(origin);
    expect(asked.headers.get('access-control-allow-headers')).toMatch(/Authorization.*Content-Type/);
    expect(asked.headers.get('access-control-allow-credentials')).toBeNull();
    const good = await call('GET /v1/conversations', { origin, authorization: api.authorization('alice') });
    expect([good.status, good.headers.get('access-control-allow-origin')]).toEqual([200, origin]);
    expect(good.headers.get('access-control-expose-headers')).toContain('RateLimit-Remaining');
    expect(good.headers.get('vary')).toContain('Origin');
    for (const [line, status] of [
      ['GET /v1/conversations', 401],
      ['GET /v1/nothing', 404],
    ] as const) {
      const bad = await call(line, { origin });
      expect([bad.status, bad.headers.get('access-control-allow-origin')]).toEqual([status, origin]);
    }
  });

  it('is closed to the pages of strangers: nothing says that they may read', async () => {
    for (const config of [{ production: true }, { allowedOrigins: [origin] }] as const) {
      const { call } = await gatewayWith(config);
      for (const stranger of ['https://evil.example', 'null', `${origin}.evil.example`]) {
        const asked = await call('OPTIONS /v1/messages', preflight(stranger));
        expect([asked.status, asked.headers.get('access-control-allow-origin')]).toEqual([404, null]);
        expect(JSON.parse(asked.body)).toMatchObject({ error: { code: 'not_found' } });
        const headers = { origin: stranger, authorization: api.authorization('alice') };
        const answer = await call('GET /v1/conversations', headers);
        expect(answer.headers.get('access-control-allow-origin')).toBeNull();
      }
    }
  });

  it('knows OPTIONS only as a preflight', async () => {
    const { call } = await gatewayWith({ allowedOrigins: '*' });
    for (const headers of [{}, { origin }]) {
      expect(await call('OPTIONS /v1/messages', headers)).toMatchObject({ status: 404 });
    }
  });
});

describe('every answer', () => {
  it('says that it is neither a document nor to be framed, sniffed, or kept', async () => {
    const { call } = await gatewayWith({ production: true });
    const authorization = api.authorization('alice');
    for (const [line, headers] of [
      ['GET /v1/conversations', { authorization }],
      ['GET /v1/conversations', {}],
      ['GET /v1/openapi.json', {}],
      ['GET /nothing', {}],
      ['GET /healthz', {}],
    ] as [string, Record<string, string>][]) {
      const answer = await call(line, headers);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer.headers.get('content-security-policy')).toBe("default-src 'none';frame-ancestors 'none'");
      expect(answer.headers.get('x-frame-options')).toBe('DENY');
      expect(answer.headers.get('referrer-policy')).toBe('no-referrer');
      expect(answer.headers.get('strict-transport-security')).toContain('max-age=31536000');
      expect(answer.headers.get('x-powered-by')).toBeNull();
      if (line.endsWith('conversations')) expect(answer.headers.get('cache-control')).toBe('no-store');
    }
    // On a developer's machine it would bind every port of localhost.
    const { call: inDevelopment } = await gatewayWith({ production: false });
    expect((await inDevelopment('GET /healthz')).headers.get('strict-transport-security')).toBeNull();
  });
});

describe('behind a proxy', () => {
  const forwarded = {
    'x-forwarded-for': '203.0.113.9',
    'x-forwarded-host': 'chat.example',
    'x-forwarded-proto': 'https',
  };

  it('only a trusted one is believed about whom it forwards', async () => {
    const seen: string[] = [];
    const note = (ip: string, host: string) => void seen.push(`${ip} ${host}`);
    const { port, call } = await gatewayWith({ production: true }, note);
    await call('GET /healthz', forwarded);
    const other = await gatewayWith({ production: true, trustProxy: ['192.0.2.1'] }, note);
    await other.call('GET /healthz', forwarded);
    const trusted = await gatewayWith({ production: true, trustProxy: ['loopback'] }, note);
    await trusted.call('GET /healthz', forwarded);
    // What the client itself wrote before the proxy added its word is not the proxy's.
    await trusted.call('GET /healthz', { ...forwarded, 'x-forwarded-for': '10.6.6.6, 203.0.113.9' });
    expect(seen).toEqual([
      `127.0.0.1 127.0.0.1:${port}`,
      `127.0.0.1 127.0.0.1:${other.port}`,
      '203.0.113.9 chat.example',
      '203.0.113.9 chat.example',
    ]);
  });

  it('the page’s own origin is that of the proxy, scheme included; a stranger’s headers open nothing', async () => {
    const { upgrade } = await gatewayWith({ production: true, trustProxy: ['127.0.0.1'] });
    expect((await upgrade({ ...forwarded, origin: 'https://chat.example' })).status).toBe(101);
    expect(await upgrade({ ...forwarded, origin: 'http://chat.example' })).toMatchObject(refusal);
    const { upgrade: direct } = await gatewayWith({ production: true });
    expect(await direct({ ...forwarded, origin: 'https://chat.example' })).toMatchObject(refusal);
  });
});

describe('a request that is no request', () => {
  it.each([
    ['a header that smuggles another', 'GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\nOrigin: b\r\n\r\n', 400],
    ['two lengths', 'POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx', 400],
    [
      'a length and chunks',
      'POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['headers without end', `GET /healthz HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`, 431],
    ['TLS where there is none', Buffer.from('16030100c8010000c40303', 'hex'), 400],
  ])('%s: refused, and the connection closed', async (_, bytes, status) => {
    const { port, call } = await gatewayWith({});
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.on('data', (chunk) => (text += chunk));
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('close', resolve));
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect((await call('GET /healthz')).status).toBe(200);
  });
});
