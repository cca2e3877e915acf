import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Archive, ArchiveError, type ArchiveRow } from './archive.ts';
import { BUCKET_SIZE } from './rows.ts';

/**
 * What every archive must do, run over each implementation. `open` gives an archive with its schema applied; every test
 * works in channels of its own, so the store need not be empty.
 */
export function archiveContract(name: string, open: () => Promise<Archive>): void {
  describe(`archive contract: ${name}`, () => {
    let archive: Archive;
    beforeAll(async () => {
      archive = await open();
    });
    afterAll(async () => {
      await archive?.close();
    });

    const seqs = async (channel: string, q: Parameters<Archive['page']>[1]) =>
      (await archive.page(channel, q)).map((row) => row.seq);

    test('is ready, and its schema is applied once', async () => {
      await archive.ready();
      expect(await archive.applySchema()).toEqual([]);
    });

    test('a channel that does not exist has no rows and no last seq', async () => {
      expect(await archive.page(group(), { limit: 10, order: 'newest' })).toEqual([]);
      expect(await archive.page(group(), { limit: 10, order: 'oldest', after: 5 })).toEqual([]);
      expect(await archive.lastSeq(group())).toBe(0);
      expect(await archive.channelsOf(`nobody-${unique()}`)).toEqual([]);
    });

    test('every type of row comes back as it was written', async () => {
      const channel = group();
      const rows = [
        row(channel, 1, { type: 'created', data: JSON.stringify({ title: 'Tea', members: ['alice', 'bob'] }) }),
        row(channel, 2, { content: 'hello', metadata: '{"k":"v"}' }),
        row(channel, 3, { type: 'renamed', data: JSON.stringify({ title: 'Coffee' }) }),
        row(channel, 4, { type: 'member', data: JSON.stringify({ user: 'carol', action: 'added', role: 'member' }) }),
        row(channel, 5, { content: 'no metadata' }),
      ];
      await archive.write(rows);
      expect(await archive.page(channel, { limit: 10, order: 'oldest' })).toEqual(rows);
      expect(await archive.page(channel, { limit: 10, order: 'newest' })).toEqual([...rows].reverse());
    });

    test('writing the same rows again changes nothing', async () => {
      const channel = group();
      const rows = [1, 2, 3].map((seq) => row(channel, seq, { content: `m${seq}` }));
      await archive.write(rows);
      await archive.write(rows);
      await archive.write(rows.slice(1, 2));
      expect(await archive.page(channel, { limit: 10, order: 'oldest' })).toEqual(rows);
      expect(await archive.lastSeq(channel)).toBe(3);
    });

    test('a replay of an older write never wins over a newer one', async () => {
      const channel = group();
      const old = row(channel, 1, { content: 'first' });
      const newer = { ...old, content: 'second', logId: later(old.logId, 5) };
      await archive.write([newer]);
      await archive.write([old]);
      expect((await archive.page(channel, { limit: 1, order: 'newest' }))[0]?.content).toBe('second');
      await archive.write([{ ...newer, content: 'third', logId: later(newer.logId, 1) }]);
      expect((await archive.page(channel, { limit: 1, order: 'newest' }))[0]?.content).toBe('third');
    });

    test('entries of one millisecond keep the order of their log ids', async () => {
      const channel = group();
      const first = row(channel, 1, { content: 'a', logId: '1763000000000-2' });
      await archive.write([{ ...first, content: 'b', logId: '1763000000000-10' }]);
      await archive.write([first]);
      expect((await archive.page(channel, { limit: 1, order: 'newest' }))[0]?.content).toBe('b');
    });

    test('an older batch does not take the last seq back', async () => {
      const channel = group();
      await archive.write([row(channel, 7), row(channel, 8)]);
      await archive.write([row(channel, 5), row(channel, 6)]);
      expect(await archive.lastSeq(channel)).toBe(8);
    });

    test('pages: newest, oldest, one bound, both bounds, limits', async () => {
      const channel = group();
      await archive.write(Array.from({ length: 20 }, (_, i) => row(channel, i + 1)));
      expect(await seqs(channel, { limit: 3, order: 'newest' })).toEqual([20, 19, 18]);
      expect(await seqs(channel, { limit: 3, order: 'oldest' })).toEqual([1, 2, 3]);
      expect(await seqs(channel, { limit: 3, order: 'newest', before: 10 })).toEqual([9, 8, 7]);
      expect(await seqs(channel, { limit: 3, order: 'oldest', after: 10 })).toEqual([11, 12, 13]);
      expect(await seqs(channel, { limit: 9, order: 'newest', after: 4, before: 8 })).toEqual([7, 6, 5]);
      expect(await seqs(channel, { limit: 9, order: 'oldest', after: 4, before: 8 })).toEqual([5, 6, 7]);
      expect(await seqs(channel, { limit: 2, order: 'oldest', after: 4, before: 8 })).toEqual([5, 6]);
      expect(await seqs(channel, { limit: 50, order: 'newest', before: 1 })).toEqual([]);
      expect(await seqs(channel, { limit: 50, order: 'oldest', after: 20 })).toEqual([]);
      expect(await seqs(channel, { limit: 50, order: 'newest', after: 7, before: 8 })).toEqual([]);
      expect(await seqs(channel, { limit: 2, order: 'newest', before: Number.MAX_SAFE_INTEGER })).toEqual([20, 19]);
    });

    test('pages run across the bounds of buckets', async () => {
      const channel = group();
      const from = BUCKET_SIZE - 3;
      await archive.write(Array.from({ length: 6 }, (_, i) => row(channel, from + i)));
      const all = [from, from + 1, from + 2, from + 3, from + 4, from + 5];
      expect(await seqs(channel, { limit: 10, order: 'oldest' })).toEqual(all);
      expect(await seqs(channel, { limit: 10, order: 'newest' })).toEqual([...all].reverse());
      expect(await seqs(channel, { limit: 4, order: 'newest', before: BUCKET_SIZE + 2 })).toEqual(
        [from + 1, from + 2, from + 3, from + 4].reverse(),
      );
      expect(await seqs(channel, { limit: 2, order: 'oldest', after: BUCKET_SIZE - 2 })).toEqual([
        BUCKET_SIZE - 1,
        BUCKET_SIZE,
      ]);
      expect(await seqs(channel, { limit: 10, order: 'oldest', after: BUCKET_SIZE - 1 })).toEqual([
        BUCKET_SIZE,
        BUCKET_SIZE + 1,
        BUCKET_SIZE + 2,
      ]);
      expect(await seqs(channel, { limit: 10, order: 'newest', before: BUCKET_SIZE })).toEqual([
        BUCKET_SIZE - 1,
        BUCKET_SIZE - 2,
        BUCKET_SIZE - 3,
      ]);
    });

    test('pages cross a wide hole, which a rebuilt channel has', async () => {
      const channel = group();
      const far = 2 ** 20;
      await archive.write([row(channel, 1), row(channel, 2), row(channel, far + 1)]);
      expect(await seqs(channel, { limit: 10, order: 'newest' })).toEqual([far + 1, 2, 1]);
      expect(await seqs(channel, { limit: 10, order: 'oldest' })).toEqual([1, 2, far + 1]);
      expect(await archive.lastSeq(channel)).toBe(far + 1);
    });

    test('content and metadata come back byte for byte', async () => {
      const channel = group();
      const contents = [
        '\u0000',
        'a\u0000b\u0000',
        ' \t\r\n padded \n',
        '\uFEFFbom',
        '\u2028\u2029\u0085',
        'e\u0301 is not \u00e9',
        '👩‍👩‍👧‍👦🏳️‍🌈',
        '\u{10FFFF}\uFFFF\uFFFE\uE000',
        '\u202Ertl\u200B\u200D',
        "'; DROP TABLE messages; --",
        '\u0001\u001f\u007f\u0080\u009f',
        'x'.repeat(8192),
        '😀'.repeat(2048),
        everyPlane(),
      ];
      const rows = contents.map((content, i) =>
        row(channel, i + 1, { content, metadata: JSON.stringify({ [content.slice(0, 64)]: content.slice(0, 256) }) }),
      );
      await archive.write(rows);
      const page = await archive.page(channel, { limit: 50, order: 'oldest' });
      for (const [i, stored] of page.entries()) {
        expect(stored.content === contents[i], `content ${i}`).toBe(true);
        expect(stored.metadata === rows[i]?.metadata, `metadata ${i}`).toBe(true);
      }
      expect(page.length).toBe(contents.length);
    });

    test('a batch of 500 rows over many channels', async () => {
      const channels = Array.from({ length: 25 }, group);
      const rows = Array.from({ length: 500 }, (_, i) =>
        row(channels[i % 25]!, Math.floor(i / 25) + 1, { content: 'x'.repeat(500) }),
      );
      await archive.write(rows);
      for (const channel of channels) {
        expect(await seqs(channel, { limit: 100, order: 'oldest' })).toEqual(
          Array.from({ length: 20 }, (_, i) => i + 1),
        );
        expect(await archive.lastSeq(channel)).toBe(20);
      }
    });

    test('a batch of 500 rows of 8 KiB in one channel', async () => {
      const channel = group();
      await archive.write(Array.from({ length: 500 }, (_, i) => row(channel, i + 1, { content: 'é'.repeat(4096) })));
      expect((await seqs(channel, { limit: 200, order: 'oldest', after: 300 })).length).toBe(200);
      expect(await archive.lastSeq(channel)).toBe(500);
    });

    test('an empty batch is nothing', async () => {
      await archive.write([]);
    });

    test('concurrent writers of the same rows agree', async () => {
      const channel = group();
      const rows = Array.from({ length: 100 }, (_, i) => row(channel, i + 1));
      await Promise.all([archive.write(rows), archive.write(rows), archive.write([...rows].reverse())]);
      expect(await archive.page(channel, { limit: 200, order: 'oldest' })).toEqual(rows);
      expect(await archive.lastSeq(channel)).toBe(100);
    });

    test('channels of a user: created, added, removed, added again, and replays', async () => {
      const [channel, owner, first, later1] = [group(), `o-${unique()}`, `f-${unique()}`, `l-${unique()}`];
      const member = (seq: number, user: string, action: string) =>
        row(channel, seq, { type: 'member', from: owner, data: JSON.stringify({ user, action, role: 'member' }) });
      const created = row(channel, 1, {
        type: 'created',
        from: owner,
        data: JSON.stringify({ members: [owner, first] }),
      });
      const added = member(2, later1, 'added');
      const removed = member(3, later1, 'removed');
      await archive.write([created]);
      expect(await archive.channelsOf(owner)).toEqual([channel]);
      expect(await archive.channelsOf(first)).toEqual([channel]);
      expect(await archive.channelsOf(later1)).toEqual([]);
      await archive.write([added]);
      expect(await archive.channelsOf(later1)).toEqual([channel]);
      await archive.write([removed]);
      expect(await archive.channelsOf(later1)).toEqual([]);
      await archive.write([added]);
      expect(await archive.channelsOf(later1)).toEqual([]);
      await archive.write([member(4, later1, 'added'), member(5, later1, 'role')]);
      expect(await archive.channelsOf(later1)).toEqual([channel]);
      await archive.write([created, added, removed]);
      expect(await archive.channelsOf(later1)).toEqual([channel]);
    });

    test('added and removed in one batch: the order of the log decides', async () => {
      const [channel, user] = [group(), `u-${unique()}`];
      const member = (seq: number, action: string) =>
        row(channel, seq, { type: 'member', data: JSON.stringify({ user, action, role: 'member' }) });
      await archive.write([member(3, 'removed'), member(2, 'added')]);
      expect(await archive.channelsOf(user)).toEqual([]);
    });

    test('a direct channel belongs to its two users from its first message', async () => {
      const [a, b] = [`a-${unique()}`, `b-${unique()}`];
      const [dm, notes] = [`dm:${a}:${b}`, `dm:${a}:${a}`];
      await archive.write([row(dm, 1, { from: a }), row(notes, 1, { from: a }), row(dm, 2, { from: b })]);
      expect(await archive.channelsOf(a)).toEqual([notes, dm].sort());
      expect(await archive.channelsOf(b)).toEqual([dm]);
    });

    describe('edits and deletions', () => {
      const oldest = (channel: string) => archive.page(channel, { limit: 50, order: 'oldest' });
      const message = (channel: string, seq: number) =>
        row(channel, seq, { content: 'secret', metadata: '{"k":"secret"}' });
      const change = (target: ArchiveRow, seq: number, content?: string) =>
        row(target.channel, seq, {
          type: content === undefined ? 'deleted' : 'edited',
          target: { seq: target.seq, id: target.id },
          ...(content === undefined ? {} : { content }),
        });

      test('the message has the latest text and says when; each edit is a row of its own', async () => {
        const channel = group();
        const [first, other] = [message(channel, 1), message(channel, 2)];
        const [edit, again] = [change(first, 3, 'second'), change(first, 4, 'third')];
        await archive.write([first, other, edit, again]);
        const edited = { ...first, content: 'third', edited: { seq: 4, at: again.ts } };
        expect(await oldest(channel)).toEqual([edited, other, edit, again]);
        await archive.write([first]);
        await archive.write([edit, first]);
        await archive.write([edit]);
        expect(await oldest(channel)).toEqual([edited, other, edit, again]);
      });

      test('a deletion is final and leaves no text, neither in the message nor in its edits', async () => {
        const channel = group();
        const [first, other] = [message(channel, 1), message(channel, 2)];
        const [edit, deletion, late] = [
          change(first, 3, 'secret too'),
          change(first, 4),
          change(first, 5, 'late secret'),
        ];
        await archive.write([first, other, edit, change(other, 6, 'of the other')]);
        await archive.write([deletion]);
        await archive.write([late]);
        await archive.write([first, edit]);
        const rows = await oldest(channel);
        expect(JSON.stringify(rows.filter(({ seq }) => seq !== 2 && seq !== 6))).not.toContain('secret');
        expect(rows[0]).toEqual({ ...bare(first), deleted: true });
        expect(rows[2]).toEqual(bare(edit));
        expect(rows[3]).toEqual(deletion);
        expect(rows[4]).toEqual(bare(late));
        expect(rows[1]).toMatchObject({ content: 'of the other', edited: { seq: 6 } });
      });

      // What one writer does: the log's order, batches of any size, each perhaps repeated; and a frozen one that wakes up.
      test('in whatever order rows are written and repeated, the outcome is the log’s', async () => {
        const name = group();
        const first = message(name, 1);
        const log = [
          first,
          change(first, 2, 'one'),
          change(first, 3, 'two'),
          change(first, 4),
          change(first, 5, 'three'),
        ];
        for (const upTo of [3, 5]) {
          const rows = log.slice(0, upTo);
          const expected =
            upTo === 3
              ? [{ ...first, content: 'two', edited: { seq: 3, at: log[2]?.ts } }, ...rows.slice(1)]
              : [{ ...bare(first), deleted: true }, ...rows.slice(1).map(bare)];
          for (const order of permutations(rows)) {
            const channel = group();
            const own = order.map((one) => ({ ...one, channel }));
            const cut = Math.floor(Math.random() * own.length);
            await archive.write(own.slice(0, cut));
            await archive.write(own.slice(cut));
            await archive.write(own.slice(Math.floor(Math.random() * own.length)));
            const path = own.map(({ seq }) => seq).join(' ');
            expect(await oldest(channel), path).toEqual(expected.map((one) => ({ ...one, channel })));
          }
        }
      });

      test('writers at once agree on a deletion', async () => {
        for (let round = 0; round < 10; round++) {
          const channel = group();
          const first = message(channel, 1);
          const [edit, deletion] = [change(first, 2, 'secret too'), change(first, 3)];
          await Promise.all([archive.write([first, edit]), archive.write([deletion]), archive.write([edit])]);
          expect(await oldest(channel)).toEqual([{ ...bare(first), deleted: true }, bare(edit), deletion]);
        }
      });

      test('a change far behind its message, in another bucket', async () => {
        const channel = group();
        const first = message(channel, 7);
        const edit = change(first, 2 * BUCKET_SIZE + 3, 'secret too');
        await archive.write([first, edit]);
        expect((await archive.page(channel, { limit: 1, order: 'oldest' }))[0]).toMatchObject({
          content: 'secret too',
        });
        await archive.write([change(first, 3 * BUCKET_SIZE)]);
        expect(JSON.stringify(await oldest(channel))).not.toContain('secret');
      });

      test('of a message that nobody has, a change is a row and nothing more', async () => {
        const channel = group();
        const missing = message(channel, 1);
        const rows = [message(channel, 2), change(missing, 3, 'text'), change(missing, 4)];
        await archive.write(rows);
        expect(await oldest(channel)).toEqual([rows[0], bare(rows[1]!), rows[2]]);
      });

      test('one sequence number given out twice: only the message that was meant is changed', async () => {
        const channel = group();
        const [one, two] = [message(channel, 1), message(channel, 1)];
        await archive.write([one, two, change(two, 2, 'changed')]);
        const rows = (await oldest(channel)).filter(({ seq }) => seq === 1);
        expect(rows.find(({ id }) => id === one.id)).toEqual(one);
        expect(rows.find(({ id }) => id === two.id)).toMatchObject({ content: 'changed' });
      });
    });

    test('a row that can never be written is named, and nothing of its batch is stored', async () => {
      const channel = group();
      const broken: Partial<ArchiveRow>[] = [
        { id: 'not-a-uuid' },
        { logId: 'x' },
        { seq: 0 },
        { type: 'member', data: '{"user":"bob","action":"flown","role":"member"}' },
        { type: 'created', data: 'not json' },
        { type: 'renamed', data: '[]' },
        { type: 'edited', content: 'x' },
        { type: 'deleted', target: { seq: 2, id: timeUuid(START) } },
        { type: 'deleted', target: { seq: 1, id: 'not-a-uuid' } },
      ];
      for (const fields of broken) {
        const bad = { ...row(channel, 2), ...fields };
        const error = await archive.write([row(channel, 1), bad]).then(
          () => undefined,
          (reason: unknown) => reason,
        );
        expect(error).toBeInstanceOf(ArchiveError);
        expect((error as ArchiveError).code).toBe('bad_row');
        expect((error as ArchiveError).retryable).toBe(false);
        expect((error as ArchiveError).row).toEqual(bad);
      }
      expect(await seqs(channel, { limit: 10, order: 'oldest' })).toEqual([]);
    });

    test('a type that it does not know is stored all the same', async () => {
      const channel = group();
      const unknown = row(channel, 1, { type: 'pinned', data: '{"target":7}' });
      await archive.write([unknown]);
      expect(await archive.page(channel, { limit: 1, order: 'newest' })).toEqual([unknown]);
    });
  });
}

const START = 1_763_000_000_000;
const unique = () => randomBytes(6).toString('hex');
const group = () => `g:${unique()}`;

/** A row whose log id grows with its seq, as in a real log. */
function row(channel: string, seq: number, fields: Partial<ArchiveRow> = {}): ArchiveRow {
  const type = fields.type ?? 'message';
  const ts = START + seq;
  return {
    channel,
    seq,
    id: timeUuid(ts),
    logId: `${ts}-0`,
    type,
    from: 'alice',
    clientId: `c${seq}`,
    ts,
    ...(type === 'message' ? { content: `message ${seq}` } : {}),
    ...fields,
  };
}

/** A version 1 UUID of that millisecond (RFC 9562 §5.1: 100 ns ticks since 1582-10-15). */
function timeUuid(ms: number): string {
  const ticks = ((BigInt(ms) + 12_219_292_800_000n) * 10_000n).toString(16).padStart(15, '0');
  const clockAndNode = randomBytes(8);
  clockAndNode[0] = (clockAndNode[0]! & 0x3f) | 0x80;
  const tail = clockAndNode.toString('hex');
  return `${ticks.slice(7)}-${ticks.slice(3, 7)}-1${ticks.slice(0, 3)}-${tail.slice(0, 4)}-${tail.slice(4)}`;
}

/** Without any text. */
function bare({ content: _, metadata: __, ...rest }: ArchiveRow): ArchiveRow {
  return rest;
}

function permutations<T>(all: readonly T[]): T[][] {
  if (all.length < 2) return [[...all]];
  return all.flatMap((one, i) => permutations(all.toSpliced(i, 1)).map((rest) => [one, ...rest]));
}

function later(logId: string, ms: number): string {
  return `${Number(logId.split('-')[0]) + ms}-0`;
}

/** Scalar values from every plane and every block's edges: 4,000 of them, surrogates left out. */
function everyPlane(): string {
  let text = '';
  for (let code = 0; code <= 0x10ffff; code += 0x115) {
    text += code >= 0xd800 && code <= 0xdfff ? '' : String.fromCodePoint(code);
  }
  return text.slice(0, 2000).isWellFormed() ? text.slice(0, 2000) : text.slice(0, 1999);
}
