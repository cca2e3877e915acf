/** A cluster, and a primary that Sentinels name, over TLS and as the user that may do no more than Millrace needs. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { createAuthority } from '../../ops/certificates.ts';
import { rules } from '../../ops/redis/acl.ts';
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { startSentinel } from '../../ops/redis/sentinel.ts';
import type { RedisServer } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect } from './connect.ts';
import { Verbs } from './verbs.ts';

const MAIN = fileURLToPath(new URL('../../apps/gateway/main.ts', import.meta.url));
const PARTITIONS = 16;
const PASSWORD = 'p-ss:w0rd/with%signs';
const keys = keyspace(PARTITIONS);
const authority = createAuthority();
const tls = { caFile: authority.caFile, ...authority.issue('redis') };
const options = { logger: pino({ level: 'silent' }), name: 'tls-test', timeoutMs: 8000 };

interface Setup {
  readonly url: string;
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}
const TOPOLOGIES: readonly [string, () => Promise<Setup>][] = [
  [
    'rediss+cluster',
    async () => {
      const cluster = await startRedisCluster({ tls });
      return { url: cluster.url, servers: cluster.nodes, stop: cluster.stop };
    },
  ],
  [
    'rediss+sentinel',
    async () => {
      const { url, primary, replicas, stop } = await startSentinel({ tls });
      return { url, servers: [primary, ...replicas], stop };
    },
  ],
];

/** The user on each server; resolves with a look at what has been denied since. */
async function admit(servers: readonly RedisServer[]): Promise<() => Promise<unknown[]>> {
  const admins = servers.map((server) => new Redis(server.url));
  const user = rules.slice(rules.indexOf('user') + 1).map((word) => word.replace('CHANGE-ME', PASSWORD));
  await Promise.all(admins.map((admin) => admin.call('ACL', 'SETUSER', ...user)));
  return async () => {
    const denied = await Promise.all(admins.map((admin) => admin.call('ACL', 'LOG')));
    for (const admin of admins) admin.disconnect();
    return denied.flat();
  };
}

describe.each(TOPOLOGIES)('%s://', (_, start) => {
  test('commands, blocking reads and subscriptions all go over TLS, and only to whom the authority vouches for', async () => {
    const setup = await start();
    try {
      const denied = await admit(setup.servers);
      const url = setup.url.replace('://', `://millrace:${encodeURIComponent(PASSWORD)}@`);
      const store = await connect(url, options);
      const heard: string[] = [];
      const subscriber = store.subscriber({
        message: (channel) => void heard.push(channel),
        renewed: () => undefined,
        failed: () => undefined,
      });
      const verbs = new Verbs(store.command, keys);
      // Users of all the partitions, so of all the nodes.
      const users = Array.from({ length: 40 }, (_, i) => `user-${i}`);
      const channels = users.map((user) => keys.presence(user));
      await subscriber.subscribe(channels, 10_000);
      for (const user of users) {
        await verbs.attach({ user, device: 'phone', session: 's', gateway: 'g', maxSessions: 8 });
        await store.command.spublish(keys.presence(user), 'online 1');
      }
      await until('all were heard', 10_000, () => new Set(heard).size === users.length);
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const bell = keys.bell(partition, 'test');
        await store.command.xadd(bell, '1-1', 'users', 'somebody');
        const connection = await store.blocking(partition, PARTITIONS);
        expect(await connection.xread([{ key: bell, after: '0-0' }], { count: 1, blockMs: 1000 })).toHaveLength(1);
        connection.close();
      }
      await store.close();
      expect(await denied()).toEqual([]);

      const stranger = url.replace(authority.caFile, createAuthority().caFile);
      await expect(connect(stranger, { ...options, timeoutMs: 2000 })).rejects.toThrow(/no connection to Redis/);
      // Named at once, and not after all the time that a server may take to come: with what to do about it.
      const told = connect(stranger, { ...options, timeoutMs: 60_000 });
      await expect(told).rejects.toThrow(/certificate.*\?ca=<file>/s);
      const untrusted = connect(url.replace(/\?ca=.*/, ''), { ...options, timeoutMs: 60_000 });
      await expect(untrusted).rejects.toThrow(/certificate.*\?ca=<file>/s);
      // And the process ends with it: what has to be changed is EX_CONFIG.
      const env = { ...process.env, REDIS_URL: stranger, JWT_SECRET: 'x'.repeat(32), PORT: '0' };
      const exit = await new Promise<{ code: unknown; said: string }>((done) => {
        execFile(process.execPath, [MAIN], { env, timeout: 60_000 }, (error, stdout, stderr) =>
          done({ code: error?.code, said: stdout + stderr }),
        );
      });
      expect(exit).toEqual({ code: 78, said: expect.stringMatching(/certificate.*\?ca=<file>/s) });
      expect(exit.said).not.toContain(encodeURIComponent(PASSWORD));
    } finally {
      await setup.stop();
    }
  }, 90_000);
});
