/** The client library over two gateways: what two people see of each other besides messages, and that a break keeps it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MillraceClient, type ReceiptEvent, type Tick } from '../../lib/client/index.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { until } from '../../ops/until.ts';
import { keys, World } from './world.ts';

const DM = 'dm:alice:bob';

let world: World;
let gateways: MillraceProcess[];
/** Alice's way to the gateways: to the first of them, until it is told otherwise. */
let way: TcpProxy;
let target = 0;
let alice: MillraceClient;
let bob: MillraceClient;
let receipts: ReceiptEvent[];
/** What each of them is told, in words. */
let alices: string[];
let bobs: string[];
const errors: Error[] = [];
/** While it is pending, bob's application is busy with what came, and nothing is acked. */
let bobIsBusy: Promise<void> | undefined;

beforeAll(async () => {
  world = await World.start();
  gateways = await Promise.all([world.deployment.start('gateway'), world.deployment.start('gateway')]);
  await world.deployment.start('fanout', 'archiver', 'presence');
  way = await TcpProxy.start(() => {
    const { hostname, port } = new URL(gateways[target]!.address);
    return [{ host: hostname, port: Number(port) }];
  });
  alice = new MillraceClient({
    url: `http://${way.address}`,
    token: world.deployment.token('alice'),
    device: 'phone',
    reconnectBaseMs: 100,
    reconnectCapMs: 500,
  });
  bob = world.client(gateways[1]!, 'bob');
  [alices, bobs] = [words(alice), words(bob)];
  receipts = [];
  alice.on('receipt', (event) => void receipts.push(event));
  bob.on('message', () => bobIsBusy);
  await Promise.all([alice.connect(), bob.connect()]);
});
afterAll(async () => {
  await alice?.close({ timeoutMs: 1 });
  await way?.close();
  await world?.stop();
});

function words(client: MillraceClient): string[] {
  const told: string[] = [];
  client.on('presence', ({ user, status }) => void told.push(`${user} is ${status}`));
  client.on('typing', ({ user, on }) => void told.push(`${user} ${on ? 'types' : 'types no more'}`));
  client.on('message', ({ from, content }) => void told.push(`${from}: ${content}`));
  client.on('error', (error) => void errors.push(error));
  return told;
}

/** Waits for the word, and forgets it and all before it: what is asked for next came after it. */
async function has(told: string[], word: string, meanwhile = () => {}): Promise<void> {
  const look = () => {
    meanwhile();
    return told;
  };
  await until(`told: ${word}`, 20_000, look, () => told.includes(word));
  told.splice(0, told.indexOf(word) + 1);
}

/** A gateway that is busy drops it: keys go on being pressed. */
const types = (typist: MillraceClient, reader: string[]) =>
  has(reader, `${typist.user} types`, () => typist.typing(DM));

const hasTick = (seq: number, tick: Tick) =>
  until(
    `message ${seq} is ${tick}`,
    10_000,
    () => alice.tick(DM, seq),
    (now) => now === tick,
  );

it('a message is sent, then delivered, then read; an answer reads it too', async () => {
  const handled = Promise.withResolvers<void>();
  bobIsBusy = handled.promise;
  const { seq } = await alice.send({ to: 'bob', content: 'hello' });
  await has(bobs, 'alice: hello');
  expect(alice.tick(DM, seq)).toBe('sent');
  handled.resolve();
  bobIsBusy = undefined;
  await hasTick(seq, 'delivered');
  bob.read(DM, seq);
  await hasTick(seq, 'read');
  expect(receipts).toEqual([
    { channel: DM, user: 'bob', delivered: 1, read: 0 },
    { channel: DM, user: 'bob', delivered: 1, read: 1 },
  ]);
  const second = await alice.send({ to: 'bob', content: 'how are you?' });
  await has(bobs, 'alice: how are you?');
  await bob.send({ to: 'alice', content: 'well' });
  await has(alices, 'bob: well');
  expect(alice.tick(DM, second.seq)).toBe('read');
  // The gateways say the same.
  const list = await bob.loadReceipts(DM);
  expect(list.find(({ user }) => user === 'bob')).toEqual({ user: 'bob', delivered: 3, read: 3 });
});

it('each sees that the other is there, and types', async () => {
  alice.watch(['bob', 'nobody']);
  bob.watch(['alice']);
  await until('both are seen', 10_000, () => alice.presence('nobody') && bob.presence('alice'));
  expect(alice.presence('bob')).toEqual({ status: 'online', lastSeen: expect.any(Number) });
  expect(alice.presence('nobody')).toEqual({ status: 'offline', lastSeen: null });
  expect(bob.presence('alice')?.status).toBe('online');
  await types(bob, alices);
  bob.typing(DM, false);
  await has(alices, 'bob types no more');
  await types(bob, alices);
  await bob.send({ to: 'alice', content: 'with a message at the end' });
  await has(alices, 'bob types no more');
  await has(alices, 'bob: with a message at the end');
});

it('a break keeps it all: what changed meanwhile is known after it, on another gateway too', async () => {
  const handled = Promise.withResolvers<void>();
  bobIsBusy = handled.promise;
  const { seq } = await alice.send({ to: 'bob', content: 'and before the tunnel' });
  await has(bobs, 'alice: and before the tunnel');
  expect(alice.tick(DM, seq)).toBe('sent');
  way.refuse(true);
  way.cut();
  await until('she notices', 10_000, () => alice.state === 'waiting');
  // From now on no receipt is kept for her.
  const sessions = keys.sessions('alice');
  await until('her session is gone', 10_000, async () => (await world.redis.hlen(sessions)) === 0);
  handled.resolve();
  bobIsBusy = undefined;
  bob.read(DM, seq);
  const stored = async () => (await bob.loadReceipts(DM)).find(({ user }) => user === 'bob')?.read;
  await until('bob has read it', 10_000, async () => (await stored()) === seq);
  expect(alice.presence('bob')?.status).toBe('online');
  expect(alice.tick(DM, seq)).toBe('sent');
  alice.typing(DM);

  target = 1;
  way.refuse(false);
  await hasTick(seq, 'read');
  await types(bob, alices);
  await types(alice, bobs);
  const next = await alice.send({ to: 'bob', content: 'out of it' });
  await hasTick(next.seq, 'delivered');
  await bob.close();
  await has(alices, 'bob is offline');
  expect(alice.presence('bob')).toEqual({ status: 'offline', lastSeen: expect.any(Number) });
  expect(errors).toEqual([]);
}, 60_000);
