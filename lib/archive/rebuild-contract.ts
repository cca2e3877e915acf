import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Archive, ArchiveRow } from './archive.ts';
import { SEQ_STRIDE } from './rows.ts';

/** What every archive must tell when the store has lost a channel, run over each implementation. */
export function rebuildContract(name: string, open: () => Promise<Archive>): void {
  describe(`rebuild contract: ${name}`, () => {
    let archive: Archive;
    beforeAll(async () => {
      archive = await open();
    });
    afterAll(async () => {
      await archive?.close();
    });

    test('a channel that does not exist has nothing', async () => {
      expect(await archive.channel(`g:${randomUUID()}`)).toEqual({
        lastSeq: 0,
        members: [],
        erased: [],
        blockedBy: [],
        receipts: [],
      });
    });

    test('a group: its title now, who made it and when, and every change of its members by seq', async () => {
      const channel = `g:${randomUUID()}`;
      const rows = [
        row(channel, 1, 'created', { title: 'Tea', members: ['alice', 'bob'] }),
        row(channel, 2, 'message'),
        row(channel, 3, 'member', { user: 'carol', action: 'added', role: 'member' }),
        row(channel, 4, 'member', { user: 'bob', action: 'role', role: 'admin' }),
        row(channel, 5, 'renamed', { title: 'Coffee' }),
        row(channel, 6, 'member', { user: 'carol', action: 'removed', role: 'member' }),
      ];
      await archive.write(rows);
      const { members, ...rest } = await archive.channel(channel);
      expect(rest).toEqual({
        lastSeq: 6,
        title: 'Coffee',
        createdBy: 'alice',
        createdAt: rows[0]?.ts,
        erased: [],
        blockedBy: [],
        receipts: [],
      });
      expect(members.map(({ seq }) => seq)).toEqual([1, 1, 3, 4, 6]);
      expect(new Set(members.slice(0, 2).map(({ user, role }) => `${user} ${role}`))).toEqual(
        new Set(['alice owner', 'bob member']),
      );
      expect(members.slice(2)).toEqual([
        { user: 'carol', seq: 3, action: 'added', role: 'member' },
        { user: 'bob', seq: 4, action: 'role', role: 'admin' },
        { user: 'carol', seq: 6, action: 'removed', role: 'member' },
      ]);
      expect(await archive.isEmpty()).toBe(false);
    });

    test('a direct channel that begins above a multiple of the stride is in both lists of channels', async () => {
      const [a, b] = [`a${randomUUID()}`, `b${randomUUID()}`];
      const channel = `dm:${a}:${b}`;
      await archive.write([row(channel, SEQ_STRIDE + 1, 'message')]);
      expect([await archive.channelsOf(a), await archive.channelsOf(b)]).toEqual([[channel], [channel]]);
    });

    test('who was erased stays so in a direct channel that goes on above the stride', async () => {
      const [a, b] = [`a${randomUUID()}`, `b${randomUUID()}`];
      const channel = `dm:${a}:${b}`;
      const [first, again] = [row(channel, 1, 'message'), row(channel, SEQ_STRIDE + 1, 'message')];
      await archive.write([first]);
      expect((await archive.channel(channel)).erased).toEqual([]);
      await archive.forgetChannels(a, first.logId);
      await archive.write([again]);
      expect((await archive.channel(channel)).erased).toEqual([a]);
      expect(await archive.channelsOf(b)).toEqual([channel]);
    });

    test('an erased user’s membership is over in the archive too, and no replay brings it back', async () => {
      const [user, channel] = [`u-${randomUUID()}`, `g:${randomUUID()}`];
      const rows = [
        row(channel, 1, 'created', { members: ['alice', user] }),
        row(channel, 2, 'member', { user, action: 'removed', role: 'member' }),
      ];
      await archive.write(rows);
      await archive.forgetChannels(user, rows[1]?.logId ?? '');
      for (const replay of [[], rows]) {
        await archive.write(replay);
        expect((await archive.channel(channel)).members.map((member) => member.user)).toEqual(['alice']);
      }
      await archive.write([row(channel, 3, 'member', { user, action: 'added', role: 'member' })]);
      expect((await archive.channel(channel)).members.map(({ seq }) => seq)).toEqual([1, 3]);
    });
  });
}

function row(channel: string, seq: number, type: string, data?: object): ArchiveRow {
  const ts = 1_763_000_000_000 + seq;
  return {
    channel,
    seq,
    id: `${(seq % 0xffffffff).toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`,
    logId: `${ts}-0`,
    type,
    from: 'alice',
    clientId: `c${seq}`,
    ts,
    ...(type === 'message' ? { content: `message ${seq}` } : {}),
    ...(data === undefined ? {} : { data: JSON.stringify(data) }),
  };
}
