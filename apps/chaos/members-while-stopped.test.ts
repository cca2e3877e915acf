/** Who receives an event is decided by the event, not by when somebody gets round to delivering it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { seqsOf, World } from './world.ts';

const ENOUGH_MS = 15_000;
let world: World;
let gateway: MillraceProcess;
let fanout: MillraceProcess;

beforeAll(async () => {
  world = await World.start();
  [gateway, fanout] = await Promise.all([world.deployment.start('gateway'), world.deployment.start('fanout')]);
});
afterAll(() => world?.stop());

it('a member removed and another added while fan-out is stopped: each gets exactly their time', async () => {
  const [owner, stays, leaves, comes] = ['owner', 'stays', 'leaves', 'comes'].map((user) =>
    world.client(gateway, user),
  );
  const shown = new Map([stays!, leaves!, comes!].map((client) => [client, world.watch(client)]));
  await Promise.all([owner, stays, leaves, comes].map((client) => client!.connect()));
  const { channel } = await owner!.createGroup({ title: 'shifts', members: ['stays', 'leaves'] });
  const say = (content: string) => owner!.send({ channel, content });
  await say('all are there'); // 2; 1 is the group's creation
  await until('everybody has it', ENOUGH_MS, () =>
    [stays!, leaves!].every((client) => seqsOf(shown.get(client)!, channel).length === 2),
  );

  await fanout.stop();
  await say('before anything'); // 3
  await owner!.removeMember(channel, 'leaves'); // 4
  await say('without leaves'); // 5
  await owner!.addMember(channel, 'comes'); // 6
  await say('with comes'); // 7
  await owner!.addMember(channel, 'leaves'); // 8: added again, so the latest list of members knows nothing of 4
  await owner!.removeMember(channel, 'comes'); // 9
  await say('comes has gone'); // 10
  await world.deployment.start('fanout');

  const gets = (client: typeof owner, seqs: number[]) =>
    until(
      'has all',
      ENOUGH_MS,
      () => seqsOf(shown.get(client!)!, channel),
      (got) => got.at(-1) === seqs.at(-1),
    ).then((got) => expect(got).toEqual(seqs));
  await gets(stays, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  await gets(leaves, [1, 2, 3, 4, 8, 9, 10]);
  await gets(comes, [6, 7, 8, 9]);

  // Nor does the inbox hold what was not theirs, whatever a client would do with it.
  const held = async (user: string) => seqsOf(await world.inbox(user), channel);
  expect((await held('comes')).filter((seq) => seq < 6 || seq > 9)).toEqual([]);
  expect((await held('leaves')).filter((seq) => seq > 4 && seq < 8)).toEqual([]);

  // And it stays so: they go on as members, or not.
  await say('after all that'); // 11
  await gets(stays, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  await gets(leaves, [1, 2, 3, 4, 8, 9, 10, 11]);
  expect(await held('comes')).not.toContain(11);
});
