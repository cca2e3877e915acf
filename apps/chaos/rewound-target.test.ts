/**
 * A target partition put back to an older state, which is what a failover to a replica that lags does to it: noticed, and
 * filled again from the log, while clients show nothing twice and miss nothing.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { keys, seqsOf, upTo, World } from './world.ts';

const ENOUGH_MS = 15_000;
let world: World;
let gateway: MillraceProcess;

beforeAll(async () => {
  world = await World.start();
  [gateway] = await Promise.all([world.deployment.start('gateway'), world.deployment.start('fanout')]);
});
afterAll(() => world?.stop());

/** Everything that `user`'s partition lost. The cursor is the partition's, so all of its users go back together. */
function snapshotOf(user: string) {
  return world.snapshot([
    keys.cursor(keys.partitionOf(user)),
    keys.inbox(user),
    keys.devices(user),
    keys.conversations(user),
    keys.sessions(user),
  ]);
}

async function people(to: string) {
  const alice = world.client(gateway, 'alice');
  const recipient = world.client(gateway, to);
  const shown = world.watch(recipient);
  await Promise.all([alice.connect(), recipient.connect()]);
  await world.keepInbox(to);
  const channel = `dm:${['alice', to].sort().join(':')}`;
  const send = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => alice.send({ channel, content: `text ${i}` })));
  const inbox = async () => seqsOf(await world.inbox(to), channel);
  const inboxHas = (count: number) => until(`${to}'s inbox has ${count}`, ENOUGH_MS, inbox, (s) => s.length >= count);
  const shows = (count: number) =>
    until(
      `${to} is shown ${count}`,
      ENOUGH_MS,
      () => seqsOf(shown, channel),
      (s) => s.length >= count,
    );
  return { recipient, shown, channel, send, inbox, inboxHas, shows };
}

it('is filled again when nothing new is sent', async () => {
  const { recipient, shown, channel, send, inbox, inboxHas, shows } = await people('bob');
  await send(30);
  await shows(30);
  const putBack = await snapshotOf('bob');
  await send(30);
  await shows(60);
  await inboxHas(60);

  await putBack();
  expect(await inbox()).toEqual(upTo(30));
  await inboxHas(60);
  expect(await inbox()).toEqual(upTo(60));
  expect(await world.redis.hget(keys.conversations('bob'), channel)).toMatch(/^60 \d+ 60 0$/);

  // The refilled entries have new offsets, so the client was sent them again: it shows none of them.
  await send(1);
  await shows(61);
  expect(seqsOf(shown, channel)).toEqual(upTo(61));

  // A device that was away, with an offset from the time that was lost, gets what it missed and nothing else.
  const laptop = world.client(gateway, 'bob', 'laptop');
  const onLaptop = world.watch(laptop);
  await laptop.connect();
  await send(3);
  await until('the laptop is shown what is new', ENOUGH_MS, () => onLaptop.length >= 3);
  expect(seqsOf(onLaptop, channel)).toEqual([62, 63, 64]);
  await recipient.close();
});

it('in the middle of traffic', async () => {
  const { shown, channel, send, inbox, inboxHas, shows } = await people('carol');
  await send(10);
  await shows(10);
  const putBack = await snapshotOf('carol');
  let sent = 10;
  let stop = false;
  const traffic = (async () => {
    while (!stop) {
      await send(5);
      sent += 5;
    }
  })();
  for (let times = 0; times < 3; times++) {
    const before = sent;
    await until('traffic goes on', ENOUGH_MS, () => sent >= before + 50);
    await putBack();
  }
  const before = sent;
  await until('traffic goes on', ENOUGH_MS, () => sent >= before + 50);
  stop = true;
  await traffic;
  await shows(sent);
  expect(seqsOf(shown, channel)).toEqual(upTo(sent));
  await inboxHas(Math.min(sent, 500));
  const held = await inbox();
  expect(held).toEqual(upTo(sent).slice(-held.length));
});

it('while the recipient is away with an offset that the inbox no longer has', async () => {
  const { recipient, send, channel, inboxHas } = await people('dave');
  const storageOffset = async () => {
    await until('what was shown is acked', ENOUGH_MS, async () =>
      (await world.redis.hget(keys.devices('dave'), 'device:phone'))?.startsWith(`${recipient.offset} `),
    );
    return recipient.offset!;
  };
  await send(5);
  await inboxHas(5);
  const putBack = await snapshotOf('dave');
  await send(5);
  await inboxHas(10);
  const since = await storageOffset();
  await recipient.close();
  await putBack();
  // Attaches at an offset from the future of this inbox, before or after it was filled: either way all of it comes.
  const again = world.client(gateway, 'dave', 'phone', since);
  const shown = world.watch(again);
  await again.connect();
  await send(5);
  await until('the new ones are shown', ENOUGH_MS, () => seqsOf(shown, channel).at(-1) === 15);
  const seqs = seqsOf(shown, channel);
  expect(seqs).toEqual(upTo(15).slice(-seqs.length));
  expect(seqs.length).toBeGreaterThanOrEqual(5);
});
