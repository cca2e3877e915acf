import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../../../ops/reaper.ts';
import { Account } from './account.ts';
import { Findings } from './findings.ts';
import { type Entry, Journal } from './journal.ts';

const CHANNEL = 'dm:a:b';

/** a, who has a phone with a token and a laptop, and b. Times in seconds. */
async function judged(...entries: (readonly [s: number, ...Entry])[]) {
  const journal = new Journal(join(temporaryFolder('ledger'), 'ledger.jsonl'));
  const start: Entry[] = [
    ['device', 0, 'a', 'phone'],
    ['device', 0, 'a', 'laptop'],
    ['device', 0, 'b', 'phone'],
    ['token', 0, 0],
    ['channel', 0, CHANNEL, ['a', 'b']],
  ];
  for (const entry of start) journal.write(entry);
  for (const [s, kind, , ...rest] of entries) journal.write([kind, s * 1000, ...rest] as unknown as Entry);
  await journal.close();
  const findings = new Findings();
  const { pushes } = await Account.read(journal.file, findings, 16);
  const { owed, sent, vain } = pushes;
  return { owed, sent, vain, missed: findings.cases('unpushed'), wrong: findings.cases('pushedWrongly') };
}

const leave = (s: number, device = 0) => [s, 'left', 0, device] as const;
const come = (s: number, device = 0) => [s, 'coming', 0, device] as const;
/** Written and accepted. */
const write = (s: number, n: number, user = 'b') =>
  [
    [s, 'write', 0, n, 'send', CHANNEL, user, -1, 0],
    [s, 'accepted', 0, n, CHANNEL, n, `id-${n}`],
  ] as const;
const push = (s: number, n: number, count = 1, user = 'a') => [s, 'pushed', 0, user, `id-${n}`, count] as const;

it('whoever is away with all devices is woken for each message of others, or for a later one that counts it', async () => {
  const away = [leave(10), leave(11, 1), ...write(13, 1), ...write(14, 2)];
  expect(await judged(...away, push(17, 1), push(18, 2), come(60))).toEqual({
    ...{ owed: 2, sent: 2, vain: 0, missed: [], wrong: [] },
  });
  expect(await judged(...away, push(17, 2, 2), come(60))).toMatchObject({ missed: [] });
  expect(await judged(...away, push(17, 2), come(60))).toMatchObject({
    missed: [expect.stringContaining('2 messages, and pushes for 1')],
  });
  const none = (await judged(...away, push(15, 1, 2), come(60))).missed;
  expect(none).toEqual([expect.stringContaining('send 2 of b')]);
  expect((await judged(...away, come(60))).missed).toHaveLength(3);
});

it('nobody is owed a push while a device is there, soon before one comes, or for what they write themselves', async () => {
  const nothing = { owed: 0, missed: [], wrong: [] };
  expect(await judged(leave(10), ...write(13, 1), come(60))).toMatchObject(nothing);
  expect(await judged(leave(10), leave(10, 1), ...write(13, 1), come(20, 1), come(60))).toMatchObject(nothing);
  expect(await judged(leave(10), leave(10, 1), ...write(13, 1, 'a'), come(60))).toMatchObject(nothing);
  expect(await judged(leave(10, 2), ...write(13, 1, 'a'), come(60, 2))).toMatchObject(nothing);
});

it('with a fault about, a push has more time; where the store went back, and in an outage, it is not asked for', async () => {
  const away = [leave(10), leave(11, 1), ...write(13, 1)];
  const missed = [expect.stringContaining('send 1 of b'), expect.stringContaining('1 messages')];
  expect(await judged(...away, come(40))).toMatchObject({ missed });
  expect(await judged(...away, [14, 'phase', 0, 'fanout-kill'], come(40))).toMatchObject({ owed: 0, missed: [] });
  expect(await judged(...away, [14, 'phase', 0, 'fanout-kill'], come(60))).toMatchObject({ missed });
  const all = Array.from({ length: 16 }, (_, p) => p);
  expect(await judged(...away, [30, 'rewound', 0, 20_000, all], come(60))).toMatchObject({ owed: 0, missed: [] });
  expect(await judged([5, 'outage', 0, [3]], ...away, [50, 'outage', 0, null], come(60))).toMatchObject({ missed: [] });
});

it('a log that nobody delivers for a while comes in behind the others: what is pushed of those meanwhile is not all that counts', async () => {
  const late = 'dm:a:c';
  const held = (n: number) =>
    [
      [13, 'write', 0, n, 'send', late, 'c', -1, 0],
      [13, 'accepted', 0, n, late, n, `id-${n}`],
      // By another device of its sender, which shows how late all of this log is.
      [39, 'shown', 0, 3, 'message', late, n, `id-${n}`, n],
    ] as const;
  const away = [
    [0, 'device', 0, 'c', 'phone'],
    [0, 'channel', 0, late, ['a', 'c']],
    [6, 'phase', 0, 'fanout-kill'],
    ...[leave(10), leave(11, 1), ...write(13, 1), ...held(3), ...held(4), ...write(25, 2)],
    ...[push(17, 1), push(29, 2)],
  ] as const;
  expect(await judged(...away, push(43, 4, 2), come(60))).toMatchObject({ owed: 3, missed: [] });
  expect(await judged(...away, come(60))).toMatchObject({
    missed: [expect.stringContaining('3 messages, and pushes for 2')],
  });
});

it('a push for one’s own message, or to somebody without a token, is wrong; for what was shown a while ago, when there are many', async () => {
  expect((await judged(...write(13, 1, 'a'), push(17, 1))).wrong).toEqual([expect.stringContaining('its sender')]);
  expect((await judged(...write(13, 1, 'a'), push(17, 1, 1, 'b'))).wrong).toEqual([
    expect.stringContaining('b has no token'),
  ]);
  const shown = (n: number) => [13, 'shown', 0, 1, 'message', CHANNEL, n, `id-${n}`, n] as const;
  const some = [1, 2, 3, 4].map((n) => [...write(12, n), shown(n), push(17, n)]);
  expect(await judged(...some.slice(0, 3).flat())).toMatchObject({ vain: 3, wrong: [] });
  expect(await judged(...some.flat())).toMatchObject({ vain: 4, wrong: [expect.stringContaining('4 of 4')] });
  expect(await judged([1, 'phase', 0, 'net-one-way'], ...some.flat())).toMatchObject({ vain: 0, wrong: [] });
});
