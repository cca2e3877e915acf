import { X509Certificate } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { createAuthority } from './certificates.ts';

const authority = createAuthority();

/** The error of a handshake, or undefined. */
async function handshake(server: Server, ca: string | undefined, servername: string): Promise<string | undefined> {
  const { port } = server.address() as AddressInfo;
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', servername, ...(ca === undefined ? {} : { ca }) });
    socket.once('secureConnect', () => resolve(undefined));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });
}

test('a certificate of ours is believed by whoever trusts the authority, for the names it carries', async () => {
  const { cert, key } = authority.issue('server');
  const server = createServer({ cert, key });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    expect(await handshake(server, authority.ca, 'localhost')).toBeUndefined();
    expect(await handshake(server, authority.ca, 'elsewhere.example')).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(await handshake(server, undefined, 'localhost')).toMatch(/UNABLE_TO_VERIFY|SELF_SIGNED/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('every certificate has a serial number of its own', () => {
  const serials = [authority.issue('a'), authority.issue('a')].map(({ cert, serial }) => {
    expect(new X509Certificate(cert).serialNumber).toBe(serial);
    return serial;
  });
  expect(new Set(serials).size).toBe(2);
});
