/** A failover that is told of just while a process asks one of the Sentinels who the primary is. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, it } from 'vitest';
import { TcpProxy } from '../../ops/proxy.ts';
import { type SentinelSetup, startSentinel } from '../../ops/redis/sentinel.ts';
import { until } from '../../ops/until.ts';
import { connect, type RedisStore } from './connect.ts';

let setup: SentinelSetup;
let asked: TcpProxy;
let store: RedisStore;
beforeAll(async () => {
  setup = await startSentinel();
  asked = await TcpProxy.start(() => [setup.sentinels[0]!]);
  const others = setup.sentinels.slice(1).map(({ host, port }) => `${host}:${port}`);
  const url = `redis+sentinel://${[asked.address, ...others].join(',')}/millrace`;
  store = await connect(url, { logger: pino({ level: 'silent' }), name: 'test' });
});
afterAll(async () => {
  await store?.close();
  await asked?.close();
  await setup?.stop();
});

it('the shared connection begins anew, and commands go on at the promoted replica', async () => {
  const others = setup.sentinels.slice(1).map(({ url }) => new Redis(url));
  try {
    const listening = () => Promise.all(others.map((redis) => redis.call('CLIENT', 'LIST', 'TYPE', 'PUBSUB')));
    const told = (clients: unknown[]) => clients.some((list) => String(list).includes('sub=1'));
    await until('another Sentinel will tell it', 10_000, listening, told);
    let switches = 0;
    for (const redis of others) {
      redis.on('message', () => switches++);
      await redis.subscribe('+switch-master');
    }
    // From here on the first one, which is asked, owes the answer, and the others tell what happens meanwhile.
    asked.hold('down');
    setup.primary.kill('SIGKILL');
    await until('it asks for the primary', 10_000, () => asked.heldBytes('down'));
    await until('the others told', 20_000, () => switches === others.length);
    asked.release('down');
    const set = () => store.command.set('key', 'value').catch((error: Error) => error.message);
    await until('a command is answered', 10_000, set, (reply) => reply === 'OK');
  } finally {
    for (const redis of others) redis.disconnect();
  }
});
