/** A failover that each Sentinel tells of for itself, the one that leads it a second after the others. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type SentinelSetup, startSentinel } from '../../ops/redis/sentinel.ts';
import { until } from '../../ops/until.ts';
import { connect, type RedisStore } from './connect.ts';

let setup: SentinelSetup;
let store: RedisStore;
beforeAll(async () => {
  // Two: the one that is not promoted is told of the other before the failover ends.
  setup = await startSentinel({ replicas: 2 });
  store = await connect(setup.url, { logger: pino({ level: 'silent' }), name: 'test' });
});
afterAll(async () => {
  await store?.close();
  await setup?.stop();
});

it.each(['SIGKILL', 'SIGSTOP'] as const)(
  'a primary gets %s: the connection to the heir is kept, whoever tells of it',
  async (signal) => {
    const watching = setup.sentinels.map(({ url }) => new Redis(url));
    try {
      const told: string[] = [];
      for (const redis of watching) {
        redis.on('message', (_, text: string) => told.push(text.split(' ').at(-1)!));
        await redis.subscribe('+switch-master');
      }
      const ports: (number | undefined)[] = [];
      const note = () => ports.push((store.command as Redis).stream.remotePort);
      store.command.on('ready', note);
      const port = (store.command as Redis).stream.remotePort;
      const primary = [setup.primary, ...setup.replicas].find((server) => server.port === port)!;
      primary.kill(signal);
      await until('every Sentinel told', 30_000, () => told.length === watching.length);
      const set = () => store.command.set('key', 'value').catch((error: Error) => error.message);
      await until('a command is answered', 10_000, set, (reply) => reply === 'OK');
      store.command.off('ready', note);
      expect(ports).toEqual([Number(told[0])]);
      if (signal === 'SIGSTOP') primary.kill('SIGCONT');
      else await primary.revive(['--replicaof', primary.host, told[0]!]);
      const links = async () => (await store.command.info('replication')).match(/state=online/g)?.length;
      await until('all follow it', 30_000, links, (count) => count === 2);
    } finally {
      for (const redis of watching) redis.disconnect();
    }
  },
  60_000,
);
