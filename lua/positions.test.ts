import { describe, expect, test } from 'vitest';
import { dump, fieldsOf, keys, message, nowMs, useStore } from './harness.ts';

const store = useStore();
const P = 5;
const ROLES = ['fanout', 'archiver'] as const;
const TAIL_MS = 600_000;
const advance = (role: 'fanout' | 'archiver', to: string, tailMs = TAIL_MS, logMaxBytes = 1_000_000_000) =>
  store.verbs.advance(P, role, to, { tailMs, logMaxEntries: 2_000_000, logMaxBytes }, ROLES);
const positions = () => store.redis.hgetall(keys.positions(P));
const length = () => store.redis.xlen(keys.log(P));

/** n entries, a second apart, the last one `agoMs` ago; returns their ids. Big enough that nodes can be dropped whole. */
async function fill(n: number, agoMs: number): Promise<string[]> {
  const now = await nowMs(store.redis);
  const ids = Array.from({ length: n }, (_, i) => `${now - agoMs - (n - 1 - i) * 1000}-0`);
  for (const id of ids) await store.redis.xadd(keys.log(P), id, 'content', 'x'.repeat(600));
  return ids;
}

describe('advance', () => {
  test('raises a position and never lowers it; ids are compared as numbers', async () => {
    await advance('fanout', '9-9');
    await advance('fanout', '9-10');
    await advance('fanout', '10-0');
    await advance('fanout', '9-11');
    expect(await positions()).toEqual({ fanout: '10-0' });
  });

  test('trims below all the roles only', async () => {
    const ids = await fill(100, 2 * TAIL_MS);
    expect(await advance('fanout', ids[99] ?? '')).toBe(0); // the archiver has done nothing yet
    expect(await length()).toBe(100);
    const trimmed = await advance('archiver', ids[40] ?? '');
    expect(trimmed).toBeGreaterThan(30);
    expect(trimmed).toBeLessThanOrEqual(40);
    const [first] = await store.redis.xrange(keys.log(P), '-', '+', 'COUNT', 1);
    expect(ids.indexOf(first?.[0] ?? '')).toBe(trimmed);
    expect(await positions()).toEqual({ fanout: ids[99], archiver: ids[40], trimmed: ids[40] });
    // A late call of a zombie changes nothing.
    expect(await advance('archiver', ids[3] ?? '')).toBe(0);
    expect(await positions()).toMatchObject({ archiver: ids[40], trimmed: ids[40] });
  });

  test('the tail stays, however far the roles are', async () => {
    const ids = await fill(100, 0);
    await advance('fanout', ids[99] ?? '');
    expect(await advance('archiver', ids[99] ?? '')).toBe(0);
    expect(await length()).toBe(100);
    const trimmed = await advance('archiver', ids[99] ?? '', 50_500);
    expect(trimmed).toBeGreaterThan(40);
    expect(trimmed).toBeLessThanOrEqual(50);
  });

  test('of a log over half of its bound in bytes only ten seconds are kept', async () => {
    const ids = await fill(200, 0);
    await advance('fanout', ids[199] ?? '');
    expect(await advance('archiver', ids[199] ?? '')).toBe(0);
    expect(await advance('archiver', ids[199] ?? '', TAIL_MS, 200_000)).toBeGreaterThan(150);
    expect(await length()).toBeGreaterThanOrEqual(10);
  });

  test('`trimmed` is never lowered, also by a longer tail', async () => {
    const ids = await fill(200, 0);
    await advance('fanout', ids[199] ?? '');
    await advance('archiver', ids[199] ?? '', 100_500);
    await store.redis.hset(keys.positions(P), 'trimmed', ids[190] ?? '');
    expect(await advance('archiver', ids[199] ?? '', 50_500)).toBeGreaterThan(0);
    expect((await positions()).trimmed).toBe(ids[190]);
  });

  test.each(['log', 'positions'] as const)('%s of the wrong type: an error, the position stays', async (kind) => {
    await store.redis.set(keys[kind](P), 'x');
    await expect(advance('fanout', '9-0')).rejects.toThrow('WRONGTYPE');
    expect(Object.keys(await dump(store.redis))).toEqual([keys[kind](P)]);
  });

  test('an empty partition', async () => {
    expect(await advance('fanout', '0-0')).toBe(0);
    expect(await advance('archiver', '0-0')).toBe(0);
    expect(await positions()).toEqual({ fanout: '0-0', archiver: '0-0' });
  });
});

describe('walk', () => {
  const DM = 'dm:alice:bob';
  const log = keys.log(keys.partitionOf(DM));
  /** Ten messages, with other channels' between them in the same log. */
  async function talk(): Promise<string[]> {
    for (let i = 1; i <= 10; i++) {
      await store.verbs.append(message('alice', DM, `c${i}`));
      await store.redis.xadd(log, '*', 'type', 'message', 'channel', 'g:other', 'seq', String(i), 'prev', '0-0');
    }
    const all = await store.redis.xrange(log, '-', '+');
    return all.filter(([, f]) => fieldsOf(f).channel === DM).map(([id]) => id);
  }
  const seqs = (reply: { entries: { fields: string[] }[] }) => reply.entries.map((e) => Number(fieldsOf(e.fields).seq));

  test('newest first, from an entry down to a seq, both included', async () => {
    const ids = await talk();
    const reply = await store.verbs.walk(DM, ids[7] ?? '', 3, 50);
    expect(seqs(reply)).toEqual([8, 7, 6, 5, 4, 3]);
    expect(reply.next).toBeNull();
    expect(reply.entries[0]?.id).toBe(ids[7]);
    expect(fieldsOf(reply.entries[0]?.fields ?? [])).toMatchObject({ channel: DM, content: 'hello c8' });
  });

  test("to the channel's first entry, and no further", async () => {
    const ids = await talk();
    expect(seqs(await store.verbs.walk(DM, ids[2] ?? '', 0, 50))).toEqual([3, 2, 1]);
    expect(seqs(await store.verbs.walk(DM, ids[2] ?? '', 9, 50))).toEqual([]);
  });

  test('in calls of bounded length', async () => {
    const ids = await talk();
    const first = await store.verbs.walk(DM, ids[9] ?? '', 1, 4);
    expect(seqs(first)).toEqual([10, 9, 8, 7]);
    expect(first.next).toBe(ids[5]);
    const rest = await store.verbs.walk(DM, first.next ?? '', 1, 50);
    expect(seqs(rest)).toEqual([6, 5, 4, 3, 2, 1]);
    expect(rest.next).toBeNull();
  });

  test('ends where the log is trimmed', async () => {
    const ids = await talk();
    await store.redis.xtrim(log, 'MINID', ids[4] ?? '');
    const reply = await store.verbs.walk(DM, ids[9] ?? '', 1, 50);
    expect(seqs(reply)).toEqual([10, 9, 8, 7, 6, 5]);
    expect(reply.next).toBeNull();
    expect((await store.verbs.walk(DM, ids[0] ?? '', 1, 50)).entries).toEqual([]);
  });

  test('a log that is not there, or of the wrong type', async () => {
    expect(await store.verbs.walk(DM, '1-0', 1, 50)).toEqual({ next: null, entries: [] });
    await store.redis.set(log, 'x');
    await expect(store.verbs.walk(DM, '1-0', 1, 50)).rejects.toThrow('WRONGTYPE');
  });
});
