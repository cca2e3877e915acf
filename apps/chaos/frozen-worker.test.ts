/**
 * A fan-out worker that is late: frozen past its lease, without its answers, or with calls that arrive when another has
 * done the work. Nothing that a reader could see changes.
 */
import { expect, it, type TestContext } from 'vitest';
import type { MillraceClient } from '../../lib/client/index.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { until } from '../../ops/until.ts';
import { parseEvent } from '../fanout/event.ts';
import { type InboxEntry, keys, seqsOf, upTo, World } from './world.ts';

const CHANNEL = 'dm:alice:bob';
const ENOUGH_MS = 20_000;

async function setUp({ onTestFinished }: TestContext): Promise<{ world: World; gateway: MillraceProcess }> {
  const world = await World.start();
  onTestFinished(() => world.stop());
  return { world, gateway: await world.deployment.start('gateway') };
}

async function people(world: World, gateway: MillraceProcess) {
  const alice = world.client(gateway, 'alice');
  const bob = world.client(gateway, 'bob');
  const shown = world.watch(bob);
  await Promise.all([alice.connect(), bob.connect()]);
  await world.keepInbox('bob');
  return { alice, shown };
}

async function send(alice: MillraceClient, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, i) => alice.send({ channel: CHANNEL, content: `text ${i}` })));
}

const shows = (shown: { channel: string; seq: number }[], last: number) =>
  until(
    `bob is shown ${last}`,
    ENOUGH_MS,
    () => seqsOf(shown, CHANNEL),
    (seqs) => seqs.length >= last,
  ).then((seqs) => expect(seqs).toEqual(upTo(last)));

/** What fan-out writes. Receipts come from gateways, when they will. */
function delivered(entries: readonly InboxEntry[]): InboxEntry[] {
  return entries.filter(({ type }) => type !== 'receipt');
}

it.concurrent('frozen inside its blocking read, it wakes after its lease went to another, and changes nothing', async (test) => {
  const { world, gateway } = await setUp(test);
  const frozen = await world.deployment.start('fanout');
  const { alice, shown } = await people(world, gateway);
  await world.holds(frozen, 16);
  await send(alice, 20);
  await shows(shown, 20);

  await frozen.kill('SIGSTOP'); // nothing is on its way: it waits in its blocking read
  await send(alice, 20); // its read is answered, into the socket of a process that does not run
  const other = await world.deployment.start('fanout');
  await world.holds(other, 16, ENOUGH_MS);
  await send(alice, 20);
  await shows(shown, 60);
  const before = await world.inbox('bob');
  expect(seqsOf(before, CHANNEL)).toEqual(upTo(60));

  await frozen.kill('SIGCONT');
  await until(
    'the woken worker has its share again',
    ENOUGH_MS,
    () => world.holdings(frozen),
    (n) => n === 8,
  );
  expect(delivered(await world.inbox('bob'))).toEqual(delivered(before));
  await send(alice, 20);
  await shows(shown, 80);
  expect(seqsOf(await world.inbox('bob'), CHANNEL)).toEqual(upTo(80));
});

for (const [direction, what] of [
  ['down', 'answers'],
  ['up', 'calls'],
] as const) {
  it.concurrent(`its ${what} are held back until after its lease went to another, and nothing changes`, async (test) => {
    const { world, gateway } = await setUp(test);
    const proxy = await TcpProxy.start(() => [world.server]);
    const behind = world.deploymentBehind(`redis://${proxy.address}`);
    test.onTestFinished(async () => {
      proxy.release('up');
      proxy.release('down');
      await behind.stop();
      await proxy.close();
    });
    const late = await behind.start('fanout');
    const { alice, shown } = await people(world, gateway);
    await world.holds(late, 16);
    await send(alice, 20);
    await shows(shown, 20);

    proxy.hold(direction);
    await send(alice, 20);
    await until('something is held', ENOUGH_MS, () => proxy.heldBytes(direction));
    const other = await world.deployment.start('fanout');
    await world.holds(other, 16, ENOUGH_MS);
    await send(alice, 20);
    await shows(shown, 60);
    const before = await world.inbox('bob');
    expect(seqsOf(before, CHANNEL)).toEqual(upTo(60));

    proxy.release(direction);
    await until(
      'the late worker has its share again',
      ENOUGH_MS,
      () => world.holdings(late),
      (n) => n === 8,
    );
    expect(delivered(await world.inbox('bob'))).toEqual(delivered(before));
    await send(alice, 20);
    await shows(shown, 80);
    expect(seqsOf(await world.inbox('bob'), CHANNEL)).toEqual(upTo(80));
  });
}

it.concurrent('a batch that is sent twice, whole or in overlapping parts, is applied once', async (test) => {
  const { world, gateway } = await setUp(test);
  const { alice } = await people(world, gateway);
  await send(alice, 60);
  const [source, target] = [keys.partitionOf(CHANNEL), keys.partitionOf('bob')];
  const log = await world.redis.xrange(keys.log(source), '-', '+');
  const deliveries = log.map(([id, fields]) => {
    const event = parseEvent({ id, fields });
    if ('error' in event) throw new Error(event.error);
    return { logId: id, via: event.via, fields: event.fields, recipients: ['bob'] };
  });
  const part = (from: number, to: number) => ({
    source,
    target,
    after: deliveries[from - 1]?.logId ?? '0-0',
    last: deliveries[to - 1]!.logId,
    floor: false,
    deliveries: deliveries.slice(from, to),
  });
  await world.verbs.deliver([part(0, 40)]);
  const before = await world.inbox('bob');
  await Promise.all([world.verbs.deliver([part(0, 40)]), world.verbs.deliver([part(0, 40)])]);
  await world.verbs.deliver([part(10, 30)]);
  expect(delivered(await world.inbox('bob'))).toEqual(delivered(before));
  await world.verbs.deliver([part(20, 60), part(0, 60)]);
  expect(seqsOf(await world.inbox('bob'), CHANNEL)).toEqual(upTo(60));
  // From beyond the target's cursor: refused, or what lies between would be lost.
  const { replies } = await world.verbs.deliver([{ ...part(0, 1), after: '99999999999999-0', deliveries: [] }]);
  expect(replies).toEqual([{ status: 'behind', cursor: deliveries[59]!.logId }]);
});
