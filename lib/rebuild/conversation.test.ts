import pino from 'pino';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import type { ArchiveRow } from '../archive/archive.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect, type RedisStore } from '../redis/connect.ts';
import { RebuildVerbs } from '../redis/rebuild-verbs.ts';
import { markOf } from './conversation.ts';

const keys = keyspace(4);
const DM = 'dm:ann:bob';
const GROUP = 'g:tea';
let server: RedisServer;
let store: RedisStore;
let verbs: RebuildVerbs;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  store = await connect(server.url, { logger: pino({ level: 'silent' }), name: 'mark-test' });
  verbs = new RebuildVerbs(store.command, keys);
});
beforeEach(() => store.command.flushall());
afterAll(async () => {
  await store?.close();
  await server?.stop();
});

/** Newest first; ann writes, unless told otherwise. */
const rows = (to: number, own: readonly number[] = []): ArchiveRow[] =>
  Array.from({ length: to }, (_, i) => to - i).map((seq) => ({
    ...{ channel: DM, seq, id: `m${seq}`, logId: `${seq}-0`, type: 'message', clientId: `c${seq}`, ts: seq * 10 },
    from: own.includes(seq) ? 'bob' : 'ann',
  }));
const seen = (mark: string | null, receipt: string | null = null) => ({ mark, receipt, member: undefined });
const listed = (channel: string) => store.command.hget(keys.conversations('bob'), channel);

/** The mark after what the archive tells was put back. */
async function putBack(mark: string, found: ReturnType<typeof markOf>): Promise<string | null> {
  await store.command.hset(keys.conversations('bob'), DM, mark);
  expect(await verbs.restore('bob', found ? [found] : [], true, '7-0')).toBe(0);
  return listed(DM);
}

it('a mark that went back is brought up to the newest row, with what is unread since', async () => {
  expect(await putBack('3 30 2 1', markOf(DM, 'bob', rows(5), seen('3 30 2 1')))).toBe('5 50 4 1');
});

it('what had been read meanwhile, by a receipt or an answer, is read', async () => {
  expect(await putBack('3 30 2 1', markOf(DM, 'bob', rows(5), seen('3 30 2 1', '5 4')))).toBe('5 50 1 4');
  expect(await putBack('3 30 2 1', markOf(DM, 'bob', rows(5, [5]), seen('3 30 2 1')))).toBe('5 50 0 5');
});

it('what a mark counted of before the rows stays counted', async () => {
  const end = rows(5).filter(({ seq }) => seq >= 4);
  expect(await putBack('3 30 2 1', markOf(DM, 'bob', end, seen('3 30 2 1')))).toBe('5 50 4 1');
});

it('a mark that is up to date, or ahead of the archive, stays', () => {
  expect(markOf(DM, 'bob', rows(5), seen('5 50 4 1', '5 1'))).toBeUndefined();
  expect(markOf(DM, 'bob', rows(5), seen('6 60 5 1', '5 1'))).toBeUndefined();
});

it('a removal that went back is put back: the mark ends there, as a delivery of it has it', async () => {
  const found = markOf(GROUP, 'bob', rows(5), { mark: '3 30 2 1', receipt: null, member: 'member 1-4' });
  await store.command.hset(keys.conversations('bob'), GROUP, '3 30 2 1');
  expect(found && (await verbs.restore('bob', [found], true, '7-0'))).toBe(0);
  expect(await listed(GROUP)).toBe('4 30 2 1 left');
  const again = { mark: '4 30 2 1 left', receipt: null, member: 'member 1-4' };
  expect(markOf(GROUP, 'bob', rows(5), again)).toBeUndefined();
});

it('a mark that moved since it was looked at stays, and the list is behind the floor until all are put back', async () => {
  const found = markOf(DM, 'bob', rows(5), seen('3 30 2 1'));
  await store.command.hset(keys.conversations('bob'), DM, '6 60 3 1');
  expect(found && (await verbs.restore('bob', [found], true, '7-0'))).toBe(1);
  expect(await listed(DM)).toBe('6 60 3 1');
  expect(await store.command.hget(keys.devices('bob'), 'floor')).toBeNull();
  await putBack('3 30 2 1', found);
  expect(await store.command.hget(keys.devices('bob'), 'floor')).toBe('7-0');
});
