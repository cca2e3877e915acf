/** Redis over TLS, with a user that may do nothing but what Millrace needs: the first message's whole life. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Message, MillraceClient } from '../../lib/client/index.ts';
import { connect } from '../../lib/redis/connect.ts';
import { createAuthority } from '../../ops/certificates.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { writeAclFile } from '../../ops/redis/acl.ts';
import { freePort, type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';

const PASSWORD = 'p-ss:w0rd/with%signs';
const authority = createAuthority();
const certificate = authority.issue('redis');
let folder: string;
let port: number;
let server: RedisServer;
let admin: Redis;
let deployment: Deployment;

const url = (user = 'millrace', password = PASSWORD, ca = `?ca=${authority.caFile}`, scheme = 'rediss') =>
  `${scheme}://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}${ca}`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'));
  port = await freePort();
  const tls = [
    '--tls-port',
    String(port),
    '--tls-cert-file',
    certificate.certFile,
    '--tls-key-file',
    certificate.keyFile,
  ];
  server = await startRedis({
    extraArgs: [
      ...tls,
      '--tls-ca-cert-file',
      authority.caFile,
      '--tls-auth-clients',
      'no',
      '--aclfile',
      writeAclFile(folder, PASSWORD),
    ],
  });
  admin = new Redis(server.url, { username: 'admin', password: PASSWORD });
  deployment = new Deployment({ redisUrl: url(), archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}` });
});
afterAll(async () => {
  await deployment?.stop();
  admin?.disconnect();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('Redis over TLS with the least rights', () => {
  it('carries a message’s whole life, and nothing is ever denied', async () => {
    const gateways: MillraceProcess[] = [await deployment.start('gateway'), await deployment.start('gateway')];
    await deployment.start('fanout', 'archiver');
    const client = (user: string, i: number) =>
      new MillraceClient({ url: gateways[i]?.address ?? '', token: deployment.token(user), device: 'phone' });
    const [alice, bob] = [client('alice', 0), client('bob', 1)];
    const received: Message[] = [];
    bob.on('message', (message) => void received.push(message));
    await Promise.all([alice.connect(), bob.connect()]);
    for (let i = 0; i < 5; i++) await alice.send({ to: 'bob', content: `message ${i}` });
    await until(
      'bob has them',
      15_000,
      () => received.length,
      (count) => count === 5,
    );

    const call = async (line: string, body?: unknown) => {
      const [method = '', path = ''] = line.split(' ');
      const headers = { authorization: `Bearer ${deployment.token('alice')}`, 'content-type': 'application/json' };
      const response = await fetch(`${gateways[0]?.address}${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      expect([line, response.status]).toEqual([line, expect.toSatisfy((status: number) => status < 300)]);
      return (response.status === 204 ? undefined : await response.json()) as Record<string, unknown>;
    };
    const { channel } = await call('POST /v1/channels', { title: 'a group', members: ['bob', 'carol'] });
    await call('POST /v1/messages', { channel, content: 'to all', client_id: 'g1' });
    await call(`PATCH /v1/channels/${channel}`, { title: 'another title' });
    await call(`PUT /v1/channels/${channel}/members/dave`, {});
    await call(`DELETE /v1/channels/${channel}/members/carol`);
    await call('GET /v1/conversations');
    await call('PUT /v1/devices/phone', { platform: 'android', push_token: 'abc' });
    const path = '/v1/channels/dm:alice:bob/messages';
    await until(
      'history has them',
      15_000,
      async () => (await call(`GET ${path}`)).complete_to,
      (seq) => seq === 5,
    );
    await Promise.all([alice.close(), bob.close()]);

    const denied = (await admin.call('ACL', 'LOG')) as unknown[];
    expect(denied).toEqual([]);
    const log = [...deployment.processes].flatMap((process) => process.log).join('\n');
    expect(log).not.toMatch(/NOPERM/);
    for (const secret of [PASSWORD, encodeURIComponent(PASSWORD)]) expect(log).not.toContain(secret);
  });

  it('the user may do nothing else', async () => {
    const user = new Redis(server.url, { username: 'millrace', password: PASSWORD });
    try {
      for (const [command, ...args] of [
        ['CONFIG', 'GET', '*'],
        ['FLUSHALL'],
        ['KEYS', '*'],
        ['GET', 'somebody:else'],
        ['ACL', 'LIST'],
        ['PUBLISH', 'any', 'x'],
      ] as const) {
        await expect(user.call(command, ...args)).rejects.toThrow(/NOPERM/);
      }
      // A script is held to the same rights.
      await expect(user.eval("return redis.call('SET', KEYS[1], 'x')", 1, 'somebody:else')).rejects.toThrow(
        /NOPERM|permission/i,
      );
      await expect(user.eval("return redis.call('CONFIG', 'GET', '*')", 0)).rejects.toThrow(/NOPERM|not allowed/i);
    } finally {
      user.disconnect();
    }
  });

  it('refuses to start with what is wrong, and what to do, without the password', async () => {
    const logger = pino({ level: 'silent' });
    const fault = async (address: string): Promise<string> => {
      const outcome = await connect(address, { logger, name: 'test', timeoutMs: 3000 }).catch(
        (error: Error) => error.message,
      );
      if (typeof outcome === 'string') return outcome;
      await outcome.close();
      throw new Error('it connected');
    };
    expect(await fault(url('millrace', 'wrong'))).toMatch(/WRONGPASS.*user:password/s);
    expect(await fault(url('nobody'))).toMatch(/WRONGPASS/);
    expect(await fault(url('millrace', PASSWORD, ''))).toMatch(/certificate.*\?ca=<file>/s);
    expect(await fault(url('millrace', PASSWORD, '?ca=/nowhere'))).toMatch(/\/nowhere/);
    expect(await fault(url('millrace', PASSWORD, `?ca=${authority.caFile}`, 'redis'))).toMatch(/no TLS/);
    for (const address of [url('millrace', PASSWORD, ''), url('nobody')]) {
      expect(await fault(address)).not.toContain(encodeURIComponent(PASSWORD));
    }
  });

  it('a server with the certificate of another name, or another authority, is not believed', async () => {
    const logger = pino({ level: 'silent' });
    const stranger = createAuthority();
    const other = await connect(url('millrace', PASSWORD, `?ca=${stranger.caFile}`), {
      logger,
      name: 'test',
      timeoutMs: 3000,
    }).catch(String);
    expect(other).toMatch(/certificate/);
    const misnamed = authority.issue('elsewhere', { names: ['DNS:elsewhere.example'] });
    await admin.config('SET', 'tls-cert-file', misnamed.certFile, 'tls-key-file', misnamed.keyFile);
    const wrong = await connect(url(), { logger, name: 'test', timeoutMs: 3000 }).catch(String);
    expect(wrong).toMatch(/certificate|altnames/i);
    await admin.config('SET', 'tls-cert-file', certificate.certFile, 'tls-key-file', certificate.keyFile);
  });
});
