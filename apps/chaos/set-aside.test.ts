/** One user's inbox of the wrong type: nobody else notices, nothing is dropped silently, and the user is told of the gap. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { GapEvent, MillraceClient } from '../../lib/client/index.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { keys, seqsOf, upTo, World } from './world.ts';

const ENOUGH_MS = 15_000;
let world: World;
let gateway: MillraceProcess;

beforeAll(async () => {
  world = await World.start();
  [gateway] = await Promise.all([
    world.deployment.start('gateway'),
    world.deployment.start('fanout'),
    world.deployment.start('archiver'),
  ]);
});
afterAll(() => world?.stop());

interface Person {
  client: MillraceClient;
  shown: { channel: string; seq: number }[];
  gaps: GapEvent[];
}

async function person(user: string): Promise<Person> {
  const client = world.client(gateway, user);
  const shown = world.watch(client);
  const gaps: GapEvent[] = [];
  client.on('gap', (gap) => void gaps.push(gap));
  await client.connect();
  return { client, shown, gaps };
}

const shows = ({ shown }: Person, channel: string, last: number, withinMs = ENOUGH_MS) =>
  until(
    `shown up to ${last}`,
    withinMs,
    () => seqsOf(shown, channel),
    (seqs) => seqs.at(-1) === last,
  ).then((seqs) => expect(seqs).toEqual(upTo(last)));

async function reasons(user: string, channel: string): Promise<{ seq: number; reason: string }[]> {
  const dead = await world.redis.xrange(keys.dead(keys.partitionOf(user)), '-', '+');
  return dead
    .map(
      ([, fields]) =>
        (name: string) =>
          fields[fields.indexOf(name) + 1] ?? '',
    )
    .filter((field) => field('user') === user && field('channel') === channel)
    .map((field) => ({ seq: Number(field('seq')), reason: field('reason') }));
}

for (const repairedUnderTraffic of [true, false]) {
  const when = repairedUnderTraffic ? 'under traffic' : 'when nothing more is sent';
  it.concurrent(`connected all the time, repaired ${when}`, async () => {
    const suffix = repairedUnderTraffic ? '1' : '2';
    const [alice, bob, carol] = await Promise.all([`alice${suffix}`, `bob${suffix}`, `carol${suffix}`].map(person));
    const members = [`bob${suffix}`, `carol${suffix}`];
    const { channel } = await alice!.client.createGroup({ title: 'three', members });
    const say = async (count: number) => {
      for (let i = 0; i < count; i++) await alice!.client.send({ channel, content: `text ${i}` });
    };
    await say(9);
    await Promise.all([shows(bob!, channel, 10), shows(carol!, channel, 10)]);

    await world.redis.set(keys.inbox(`bob${suffix}`), 'not a stream');
    await say(20);
    await shows(carol!, channel, 30);
    await until(
      'all that bob could not get is set aside',
      ENOUGH_MS,
      () => reasons(`bob${suffix}`, channel),
      (d) => d.length >= 20,
    );
    const dead = await reasons(`bob${suffix}`, channel);
    expect(dead.map(({ seq }) => seq)).toEqual(upTo(30).slice(10));
    expect(new Set(dead.map(({ reason }) => reason.split(' ')[0]))).toEqual(new Set(['WRONGTYPE']));
    if (!repairedUnderTraffic) {
      // Told of while the inbox is still broken: what is set aside after that is another gap.
      await until('bob is told of a gap', 45_000, () => bob!.gaps.length);
      await say(5);
      await until(
        'that is set aside too',
        ENOUGH_MS,
        () => reasons(`bob${suffix}`, channel),
        (d) => d.length >= 25,
      );
    }
    await world.redis.del(keys.inbox(`bob${suffix}`));
    if (repairedUnderTraffic) await say(5);
    await shows(bob!, channel, 35, 45_000); // at the latest a sweep finds it
    expect(bob!.gaps.length).toBeGreaterThan(0);
    await say(1);
    await Promise.all([bob!, carol!].map((who) => shows(who, channel, 36)));
  }, 100_000);
}

it.concurrent('reconnecting after the repair, on a device that was away meanwhile', async () => {
  const [alice, erin] = await Promise.all(['alice3', 'erin'].map(person));
  const channel = 'dm:alice3:erin';
  const say = async (count: number) => {
    for (let i = 0; i < count; i++) await alice!.client.send({ channel, content: `text ${i}` });
  };
  await say(10);
  await shows(erin!, channel, 10);
  await erin!.client.close();
  await world.redis.set(keys.inbox('erin'), 'not a stream');
  await say(10);
  await until(
    'they are set aside',
    ENOUGH_MS,
    () => reasons('erin', channel),
    (dead) => dead.length === 10,
  );
  // Meanwhile there is no session to be had, and the client tries on.
  const back = world.client(gateway, 'erin', 'phone', erin!.client.offset);
  const shown = world.watch(back);
  const gaps: GapEvent[] = [];
  const refused: string[] = [];
  back.on('gap', (gap) => void gaps.push(gap));
  back.on('error', () => undefined); // what the server refuses is looked at below
  back.on('disconnected', ({ reason }) => void refused.push(reason));
  const connected = back.connect();
  await until('it was refused', ENOUGH_MS, () => refused.length > 0);
  await world.redis.del(keys.inbox('erin'));
  await connected;
  await until('erin is told of a gap', ENOUGH_MS, () => gaps.length > 0);
  await until(
    'and gets what was missed',
    ENOUGH_MS,
    () => seqsOf(shown, channel),
    (seqs) => seqs.at(-1) === 20,
  );
  const seqs = seqsOf(shown, channel);
  expect(seqs).toEqual(upTo(20).slice(-seqs.length));
});
