/** What a guest may miss for good: what came while they were in, when they could not look it up any more; nothing else. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ArchiveRow } from '../../../lib/archive/index.ts';
import { temporaryFolder } from '../../../ops/reaper.ts';
import { Account } from './account.ts';
import { Findings } from './findings.ts';
import { ChannelHistory } from './history.ts';
import { type Entry, Journal, textOf } from './journal.ts';

const GROUP = 'g:tea';
const LAST = 12;
const text = (seq: number) => ['message', seq] as const;
/** The guest is in from 3 to 6, and from 9 on. */
const EVENTS = [
  ...[1, 2].map(text),
  ['added', 3] as const,
  ...[4, 5].map(text),
  ['removed', 6] as const,
  ...[7, 8].map(text),
  ['added', 9] as const,
  ...[10, 11, LAST].map(text),
];
const removed: Entry[] = [
  ['change', 0, 101, GROUP, 'guest', 'removed'],
  ['changed', 0, 101],
];
const added = (n: number): Entry[] => [
  ['change', 0, n, GROUP, 'guest', 'added'],
  ['changed', 0, n],
];
/** Sent and shown. */
const came = (...seqs: number[]): Entry[] =>
  seqs.flatMap((seq): Entry[] => {
    const written = EVENTS[seq - 1]?.[0] === 'message';
    const shown: Entry = ['shown', 0, 1, written ? 'message' : 'member', GROUP, seq, `id-${seq}`, written ? seq : null];
    return [['sent', 0, 1, 1, GROUP, seq, `id-${seq}`, `${seq}-0`], shown];
  });
const gap = (...heads: [string, number][]): Entry[] => [
  ['told', 0, 1, 1, heads],
  ['gap', 0, 1, heads.length],
];
const barred = (after: number): Entry => ['barred', 0, 1, GROUP, after];

/** The seqs that are judged as lost, and as never sent, of the guest's device. */
async function judged(...guests: Entry[][]) {
  const journal = new Journal(join(temporaryFolder('ledger'), 'ledger.jsonl'));
  const entries: Entry[] = [
    ['device', 0, 'host', 'phone'],
    ['device', 0, 'guest', 'phone'],
    ['channel', 0, GROUP, ['host', 'other']],
    ...EVENTS.flatMap(([type, seq]): Entry[] =>
      type === 'message'
        ? [
            ['write', 0, seq, 'send', GROUP, 'host', 0, 0],
            ['accepted', 0, seq, GROUP, seq, `id-${seq}`],
          ]
        : [],
    ),
    ...guests.flat(),
  ];
  for (const entry of entries) journal.write(entry);
  await journal.close();
  const findings = new Findings();
  const account = await Account.read(journal.file, findings, 16);
  const rows = EVENTS.map(([type, seq]): ArchiveRow => {
    const common = { channel: GROUP, seq, id: `id-${seq}`, ts: 1, logId: '1-0', from: 'host' };
    if (type === 'message') return { ...common, type, clientId: `write-${seq}`, content: textOf(seq) };
    const data = JSON.stringify({ user: 'guest', action: type, role: 'member' });
    return { ...common, type: 'member', clientId: 'api', data };
  });
  new ChannelHistory(GROUP, rows, account, findings).judge();
  const seqsOf = (promise: 'lost' | 'unsent') =>
    findings.cases(promise).flatMap((what) => (what.startsWith('guest') ? [Number(/tea (\d+)/.exec(what)?.[1])] : []));
  return { lost: seqsOf('lost'), unsent: seqsOf('unsent') };
}

it('without a gap, all that came while they were in has to be sent and shown', async () => {
  expect(await judged(added(100), came(3, 5, 6), removed, added(102), came(9, 10, LAST))).toEqual({
    ...{ lost: [4, 11], unsent: [4, 11] },
  });
});

it('after a gap that names the channel too, as long as history may be read', async () => {
  const all = [added(100), came(3), gap([GROUP, 5]), came(6), removed, added(102), came(9, 10, LAST)];
  expect(await judged(...all)).toEqual({ lost: [4, 5, 11], unsent: [11] });
});

it('whom history was refused to cannot show what they had not shown by then, of the stay that is over', async () => {
  const all = [added(100), came(4), gap([GROUP, 5]), removed, came(6), [barred(4)], added(102), came(9, 10, LAST)];
  expect(await judged(...all)).toEqual({ lost: [3, 11], unsent: [11] });
});

it('a gap that leaves the channel out had nothing to fill of it: but of the next stay all is owed', async () => {
  const all = [added(100), came(3, 4), removed, gap(['dm:guest:host', 1]), added(102), came(9, 10, LAST)];
  expect(await judged(...all)).toEqual({ lost: [11], unsent: [11] });
});

it('a gap that leaves out a channel of which they are a member excuses nothing', async () => {
  const all = [added(100), came(3), gap(), came(5, 6), removed, added(102), came(9), gap(), came(11, LAST)];
  expect(await judged(...all)).toEqual({ lost: [4, 10], unsent: [4, 10] });
});
