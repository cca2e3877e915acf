/** A gateway whose way to Redis is long: what takes a round trip for others takes a tenth of a second there. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TcpProxy } from '../../ops/proxy.ts';
import { until } from '../../ops/until.ts';
import { seqsOf, upTo, World } from './world.ts';

const EACH_WAY_MS = 50;
const EVERY_MS = 25;

let world: World;
let proxy: TcpProxy;
beforeAll(async () => {
  world = await World.start();
  proxy = await TcpProxy.start(() => [{ host: world.server.host, port: world.server.port }]);
});
afterAll(async () => {
  await world?.stop();
  await proxy?.close();
});

it('a session becomes live although something comes in every round trip to the store, and misses nothing', async () => {
  const far = world.deploymentBehind(`redis://${proxy.address}`);
  try {
    const [near, away] = await Promise.all([world.deployment.start('gateway'), far.start('gateway')]);
    await world.deployment.start('fanout');
    const alice = world.client(near!, 'alice');
    const first = world.client(near!, 'bob');
    await Promise.all([alice.connect(), first.connect()]);
    await first.close();

    const sends: Promise<unknown>[] = [];
    const say = () => void sends.push(alice.send({ to: 'bob', content: `message ${sends.length + 1}` }));
    const talking = setInterval(say, EVERY_MS);
    proxy.slow(EACH_WAY_MS);
    const bob = world.client(away!, 'bob', 'tablet', first.offset);
    const shown = world.watch(bob);
    await bob.connect();
    await until('the session is live', 20_000, () => bob.state === 'live');
    // What is sent waits for that.
    await bob.send({ to: 'alice', content: 'here' });
    proxy.slow(0);
    clearInterval(talking);
    await Promise.all(sends);
    await until('all is shown', 15_000, () => seqsOf(shown, 'dm:alice:bob').length === sends.length);
    const seqs = seqsOf(shown, 'dm:alice:bob');
    expect(upTo(sends.length + 1).filter((seq) => !seqs.includes(seq))).toHaveLength(1); // bob's own
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  } finally {
    await far.stop();
  }
});
