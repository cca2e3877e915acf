import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Archive, ArchiveRow } from './archive.ts';
import { BUCKET_SIZE } from './rows.ts';

/** What every archive must do when a user is to be forgotten, run over each implementation. */
export function erasureContract(name: string, open: () => Promise<Archive>): void {
  describe(`erasure contract: ${name}`, () => {
    let archive: Archive;
    beforeAll(async () => {
      archive = await open();
    });
    afterAll(async () => {
      await archive?.close();
    });

    const oldest = (channel: string, after = 0) => archive.page(channel, { after, limit: 200, order: 'oldest' });

    test('what a user wrote up to the log id has no text any more, and no replay brings it back', async () => {
      const [user, channel] = [`u-${randomUUID()}`, `g:${randomUUID()}`];
      const first = row(channel, 1, { from: user, content: 'secret', metadata: '{"k":"v"}' });
      const other = row(channel, 2, { from: 'bob', content: 'not theirs' });
      const edit = row(channel, 3, { from: user, type: 'edited', content: 'new', target: { seq: 1, id: first.id } });
      const edge = row(channel, 4, { from: user, content: 'the last one' });
      const after = row(channel, 5, { from: user, content: 'of whoever has the id now' });
      const rows = [first, other, edit, edge, after];
      await archive.write(rows);
      const [where] = await archive.sentIn(user);
      expect(where).toEqual({ channel, bucket: 0 });
      const erased = [{ ...bare(first), deleted: true }, other, bare(edit), { ...bare(edge), deleted: true }, after];
      for (const again of [[], rows, [edit], [first], [edge, edit]]) {
        await archive.erase(user, { channel, bucket: 0 }, edge.logId);
        expect(await oldest(channel)).toEqual(erased);
        await archive.write(again);
        expect(await oldest(channel)).toEqual(erased);
      }
    });

    test('every bucket is told of, and erased for itself', async () => {
      const [user, channel] = [`u-${randomUUID()}`, `g:${randomUUID()}`];
      const far = BUCKET_SIZE * 2 + 7;
      await archive.write([row(channel, 1, { from: user }), row(channel, far, { from: user })]);
      const buckets = await archive.sentIn(user);
      expect(buckets.map(({ bucket }) => bucket).sort()).toEqual([0, 2]);
      await archive.erase(user, { channel, bucket: 2 }, logId(far));
      expect((await oldest(channel))[0]?.content).toBe('message 1');
      expect((await oldest(channel, far - 1))[0]).toMatchObject({ seq: far, deleted: true });
    });

    test('a user is taken out of their channels, and may join again later', async () => {
      const [user, channel] = [`u-${randomUUID()}`, `dm:a${randomUUID()}:b`];
      const made = row(`g:${randomUUID()}`, 1, { type: 'created', data: JSON.stringify({ members: [user] }) });
      const direct = row(channel.replace(/a[^:]+/, user), 1, { from: user });
      await archive.write([made, direct]);
      expect(await archive.channelsOf(user)).toHaveLength(2);
      await archive.forgetChannels(user, logId(1));
      expect(await archive.channelsOf(user)).toEqual([]);
      await archive.write([made, direct]);
      const added = JSON.stringify({ user, action: 'added', role: 'member' });
      await archive.write([row(made.channel, 2, { type: 'member', data: added })]);
      expect(await archive.channelsOf(user)).toContain(made.channel);
    });

    test('10,000 messages are erased within 60 s', { timeout: 120_000 }, async () => {
      const user = `u-${randomUUID()}`;
      const channels = Array.from({ length: 10 }, () => `g:${randomUUID()}`);
      for (const channel of channels) {
        await archive.write(Array.from({ length: 1_000 }, (_, i) => row(channel, i + 1, { from: user })));
      }
      const startedAt = performance.now();
      for (const where of await archive.sentIn(user)) await archive.erase(user, where, logId(1_000));
      expect(performance.now() - startedAt).toBeLessThan(60_000);
      for (const channel of channels) {
        for (const { deleted, content } of await oldest(channel, 800)) {
          expect({ deleted, content }).toEqual({ deleted: true, content: undefined });
        }
      }
    });
  });
}

const START_MS = 1_763_000_000_000;
const logId = (seq: number) => `${START_MS + seq}-0`;

function row(channel: string, seq: number, fields: Partial<ArchiveRow> = {}): ArchiveRow {
  const { type = 'message' } = fields;
  return {
    channel,
    seq,
    id: `${seq.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`,
    logId: logId(seq),
    type,
    from: 'alice',
    clientId: `c${seq}`,
    ts: START_MS + seq,
    ...(type === 'message' ? { content: `message ${seq}` } : {}),
    ...fields,
  };
}

function bare({ content: _, metadata: __, ...rest }: ArchiveRow): ArchiveRow {
  return rest;
}
