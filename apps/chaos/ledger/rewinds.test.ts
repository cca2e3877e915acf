/** What a store that went back in time excuses on the wire: where it went back, and about when; nothing else. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ArchiveRow } from '../../../lib/archive/index.ts';
import { partitionOf } from '../../../lib/partitions/slices.ts';
import { temporaryFolder } from '../../../ops/reaper.ts';
import { type Holders, rewound } from '../faults/nodes.ts';
import { Account } from './account.ts';
import { Findings } from './findings.ts';
import { ChannelHistory } from './history.ts';
import { type Entry, Journal, textOf } from './journal.ts';
import { Rewinds } from './rewinds.ts';

const PARTITIONS = 16;
/** In which partition each is. */
const [STRUCK, SPARED] = ['user-001', 'user-002'].map((user) => partitionOf(user, PARTITIONS)) as [number, number];

it('only who is in one of its partitions is touched, and only about then', () => {
  expect(STRUCK).not.toBe(SPARED);
  const rewinds = new Rewinds(PARTITIONS);
  rewinds.add([STRUCK], 60_000, 70_000);
  expect(rewinds.touch('user-001', 65_000, 65_000)).toBe(true);
  expect(rewinds.touch('user-001', 0, Number.POSITIVE_INFINITY)).toBe(true);
  expect(rewinds.touch('user-002', 0, Number.POSITIVE_INFINITY)).toBe(false);
  expect(rewinds.touch('user-001', 0, 49_999)).toBe(false);
  expect(rewinds.touch('user-001', 80_001, 90_000)).toBe(false);
  rewinds.addAll(200_000, 200_000);
  expect(rewinds.touch('user-002', 200_000, 200_000)).toBe(true);
});

const CHANNEL = 'dm:user-001:user-002';

/** Both are written to over HTTP at each of these times, and sent nothing; then each is sent 1 and 1 again at one time. */
async function judged(writtenAt: number[], sentAt: number, ...rewinds: Entry[]) {
  const journal = new Journal(join(temporaryFolder('ledger'), 'ledger.jsonl'));
  const entries: Entry[] = [
    ['device', 0, 'user-001', 'phone'],
    ['device', 0, 'user-002', 'phone'],
    ['channel', 0, CHANNEL, ['user-001', 'user-002']],
    ...writtenAt.flatMap((at, i): Entry[] => [
      ['write', at, i + 1, 'send', CHANNEL, 'user-001', -1, 0],
      ['accepted', at, i + 1, CHANNEL, i + 1, `id-${i + 1}`],
    ]),
    ...[0, 1].flatMap((device): Entry[] => [
      ['sent', sentAt, device, 1, CHANNEL, 1, 'id-1', '5-0'],
      ['sent', sentAt + 1, device, 1, CHANNEL, 1, 'id-1', '6-0'],
    ]),
    ...rewinds,
  ];
  for (const entry of entries) journal.write(entry);
  await journal.close();
  const findings = new Findings();
  const account = await Account.read(journal.file, findings, PARTITIONS);
  const rows = writtenAt.map((at, i): ArchiveRow => {
    const [seq, n] = [i + 1, i + 1];
    return {
      channel: CHANNEL,
      seq,
      id: `id-${n}`,
      ts: at,
      logId: `${at}-0`,
      type: 'message',
      from: 'user-001',
      clientId: `write-${n}`,
      content: textOf(n),
    };
  });
  new ChannelHistory(CHANNEL, rows, account, findings).judge();
  for (const { name, user, wire } of account.devices) {
    wire.judge(name, findings, (from, to) => account.rewinds.touch(user, from, to));
  }
  const of = (promise: 'unsent' | 'sentTwice') => findings.cases(promise).map((what) => what.split(':')[0]);
  return { unsent: of('unsent'), twice: of('sentTwice'), lost: findings.count('lost') };
}

const BOTH = ['user-001/phone', 'user-002/phone'];

it('the wire is judged, for everybody, as long as nothing went back', async () => {
  expect(await judged([100_000, 100_000], 100_000)).toEqual({ unsent: BOTH, twice: BOTH, lost: 4 });
});

it('where a partition went back, what was on the wire to its users about then is not judged; what they show is', async () => {
  const then: Entry = ['rewound', 101_000, 99_000, [STRUCK]];
  expect(await judged([100_000, 100_000], 100_000, then)).toEqual({
    unsent: ['user-002/phone'],
    twice: ['user-002/phone'],
    lost: 4,
  });
});

it('what was written, and what was sent in sessions, long before or after is judged there too', async () => {
  const later: Entry = ['rewound', 151_000, 149_000, [STRUCK]];
  expect(await judged([100_000, 100_000], 100_000, later)).toMatchObject({ unsent: BOTH, twice: BOTH });
  const before: Entry = ['rewound', 51_000, 49_000, [STRUCK]];
  expect(await judged([100_000, 100_000], 100_000, before)).toMatchObject({ unsent: BOTH, twice: BOTH });
});

it('a Redis that lost everything went back everywhere, until sessions are registered again', async () => {
  const all: Entry[] = [
    ['losing', 99_000, [[CHANNEL, 2, 2 ** 20]]],
    ['lost', 99_100],
  ];
  expect(await judged([130_000, 130_000], 130_000, ...all)).toMatchObject({ unsent: [], twice: [] });
  expect(await judged([150_000, 150_000], 150_000, ...all)).toMatchObject({ unsent: BOTH, twice: BOTH });
});

it('a partition went back when who had it is no primary any more, not when its slot moved', () => {
  const of = (name: string, ...partitions: number[]) => partitions.map((p): [number, string] => [p, name]);
  const all = Array.from({ length: PARTITIONS }, (_, p) => p);
  const holders = (...entries: [number, string][][]): Holders => {
    const map = new Map(entries.flat());
    return { living: new Set(map.values()), of: map };
  };
  const before = holders(of('a', 0, 1), of('b', ...all.slice(2)));
  const cluster = { topology: 'cluster' } as const;
  expect(rewound(before, before, cluster)).toEqual([]);
  expect(rewound(before, holders(of('a', 0), of('b', 1, ...all.slice(2))), cluster)).toEqual([]);
  expect(rewound(before, holders(of('a again', 0, 1), of('b', ...all.slice(2))), cluster)).toEqual([0, 1]);
  expect(rewound(before, holders(of('b', ...all.slice(2))), cluster)).toEqual([0, 1]);
  expect(rewound(holders(), before, cluster)).toEqual(all);
  expect(rewound(before, holders(), { topology: 'standalone' })).toEqual([]);
});
