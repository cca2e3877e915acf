import { renameSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type Certificate, createAuthority } from '../../ops/certificates.ts';
import { until } from '../../ops/until.ts';
import { Hub } from './hub.ts';
import { type Api, startApi } from './routes/testing.ts';
import { buildServer } from './server.ts';
import { followTls, readTls, type TlsFiles } from './tls.ts';

const authority = createAuthority();
const files: TlsFiles = { certFile: join(authority.dir, 'live.pem'), keyFile: join(authority.dir, 'live.key') };
const logged: string[] = [];
const logger = pino({ level: 'info' }, { write: (line) => void logged.push(line) });
let api: Api;
let gateway: Awaited<ReturnType<typeof buildServer>>;
let stopFollowing: () => void;
let hub: Hub;
let port: number;
let first: Certificate;

const put = (cert: string, key: string) => {
  writeFileSync(files.certFile, cert);
  writeFileSync(files.keyFile, key);
};

beforeAll(async () => {
  first = authority.issue('first');
  put(first.cert, first.key);
  api = await startApi();
  hub = new Hub(api.ctx);
  const pair = await readTls(files);
  gateway = await buildServer(api.ctx, hub, undefined, pair);
  await gateway.server.listen({ host: '127.0.0.1', port: 0 });
  stopFollowing = followTls(gateway.server.server as never, files, pair, { logger, everyMs: 20 });
  port = (gateway.server.server.address() as AddressInfo).port;
});
afterAll(async () => {
  stopFollowing?.();
  gateway?.stopClock();
  for (const session of hub?.sessions.values() ?? []) session.socket.terminate();
  await gateway?.server.close();
  await hub?.stop();
  await api?.stop();
});

const open = (options: object = {}): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ca: authority.ca, servername: 'localhost', ...options });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
  });

async function serialShown(): Promise<string> {
  const socket = await open();
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

describe('TLS by the gateway', () => {
  it('serves HTTP and WebSocket, 1.2 and 1.3, and nothing older', async () => {
    const status = await new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, path: '/healthz', ca: authority.ca }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on('error', reject);
    });
    expect(status).toBe(200);
    for (const [version, protocol] of [
      ['TLSv1.2', 'TLSv1.2'],
      ['TLSv1.3', 'TLSv1.3'],
    ] as const) {
      const socket = await open({ minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(protocol);
      socket.destroy();
    }
    await expect(open({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })).rejects.toThrow();
    const live = await session('alice');
    live.terminate();
  });

  it('takes over new files; what is open lives on', async () => {
    const live = await session('bob');
    expect(await serialShown()).toBe(first.serial);
    const second = authority.issue('second');
    put(second.cert, second.key);
    await until('the new one is shown', 5000, serialShown, (serial) => serial === second.serial);
    const pong = new Promise((resolve) => live.on('message', (data) => String(data).includes('pong') && resolve(true)));
    live.send('{"type":"ping"}');
    expect(await pong).toBe(true);
    live.terminate();
  });

  it('keeps what it has while the files cannot serve, says so once, and takes over the good ones that follow', async () => {
    const before = await serialShown();
    const next = authority.issue('next');
    const old = authority.issue('expired', { days: -1 });
    for (const [cert, key] of [
      [next.cert, first.key],
      ['', ''],
      [next.cert, ''],
      ['not a certificate', next.key],
      [next.cert.slice(0, 200), next.key],
      [old.cert, old.key],
    ] as const) {
      const complaints = () => logged.filter((line) => line.includes('the old one serves on')).length;
      const said = complaints();
      put(cert, key);
      await until('it is refused', 5000, complaints, (count) => count > said);
      expect(await serialShown()).toBe(before);
    }
    renameSync(files.keyFile, `${files.keyFile}.gone`);
    await until(
      'it is missed',
      5000,
      () => logged.at(-1),
      (line) => line?.includes('ENOENT') ?? false,
    );
    expect(await serialShown()).toBe(before);
    put(next.cert, next.key);
    await until('the good one is shown', 5000, serialShown, (serial) => serial === next.serial);
    expect(logged.join('\n')).not.toContain('PRIVATE KEY');
  });

  it('refuses to start with files that cannot serve, by their names', async () => {
    const other = authority.issue('other');
    const wrong = { certFile: other.certFile, keyFile: first.keyFile };
    await expect(readTls(wrong)).rejects.toThrow(/TLS_CERT.*TLS_KEY.*mismatch/s);
    await expect(readTls({ ...wrong, keyFile: '/nowhere' })).rejects.toThrow(/TLS_KEY \(\/nowhere\)/);
  });

  it('outlives plain HTTP, handshakes that break off, and nonsense', async () => {
    const { connect: plain } = await import('node:net');
    for (const bytes of ['GET / HTTP/1.1\r\n\r\n', Buffer.from('1603010200', 'hex'), Buffer.alloc(5000, 0xff)]) {
      const socket = plain(port, '127.0.0.1', () => socket.end(bytes));
      socket.on('error', () => undefined).resume();
      await new Promise((resolve) => socket.once('close', resolve));
    }
    expect(await serialShown()).not.toBe('');
  });
});

async function session(user: string): Promise<WebSocket> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/v1/ws`, {
    ca: authority.ca,
    headers: { authorization: api.authorization(user) },
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const live = new Promise((resolve) =>
    socket.on('message', (data) => String(data).includes('"live"') && resolve(true)),
  );
  socket.send('{"type":"hello","device":"phone"}');
  await live;
  return socket;
}
