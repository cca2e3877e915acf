/** One node of a cluster that does not answer: who left on the others is offline as soon as ever. */
import keySlot from 'cluster-key-slot';
import type { Cluster } from 'ioredis';
import { expect, it } from 'vitest';
import { openArchive } from '../../lib/archive/index.ts';
import { loadConfig } from '../../lib/config/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { connect } from '../../lib/redis/connect.ts';
import { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { createLogger, createMetrics } from '../../lib/telemetry/index.ts';
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { startPresence } from './main.ts';

const GRACE_MS = 200;
/** Less than it takes until a silent server is given up. */
const SOON_MS = 2000;
const keys = keyspace(16);

it('a silent node holds up nobody who left on another', async () => {
  const cluster = await startRedisCluster();
  const logger = createLogger({ name: 'test', level: 'info', destination: { write: () => undefined } });
  const config = loadConfig({ REDIS_URL: cluster.url, JWT_SECRET: 'x'.repeat(32) });
  const store = await connect(cluster.url, { logger, name: 'presence-test' });
  const archive = await openArchive('sqlite::memory:', { logger });
  const metrics = createMetrics();
  const verbs = new Verbs(store.command, keys);
  const presence = new PresenceVerbs(store.command, keys);
  const app = await startPresence(
    { config, store, archive, logger, metrics, incarnation: 'worker' },
    { graceMs: GRACE_MS, settleEveryMs: 50, rollCallEveryMs: 100, missingMs: 60_000 },
  );
  const { slots } = store.command as Cluster;
  const ownerOf = (id: string) => slots[keySlot(id)]?.[0];
  const [silent] = cluster.nodes;
  const names = Array.from({ length: 30 }, (_, i) => `user-${i}`);
  const elsewhere = names.filter((name) => ownerOf(name) !== `${silent?.host}:${silent?.port}`);
  const sessionOf = (user: string) => ({ user, device: 'phone', session: `of-${user}`, gateway: 'gw1' });
  await Promise.all(elsewhere.map((u) => verbs.attach({ ...sessionOf(u), maxSessions: 8, maxDevices: 8 })));

  silent?.kill('SIGSTOP');
  try {
    for (const user of elsewhere.slice(0, 4)) {
      await verbs.detach(sessionOf(user));
      const status = async () => (await presence.presenceOf([user]))[0]?.status;
      await until(`${user} is offline`, GRACE_MS + SOON_MS, status, (seen) => seen === 'offline');
    }
    expect(await presence.presenceOf(elsewhere.slice(4, 5))).toMatchObject([{ status: 'online' }]);
  } finally {
    silent?.kill('SIGCONT');
  }
  await app.stop(new AbortController().signal);
  metrics.stop();
  await archive.close();
  await store.close();
  await cluster.stop();
});
