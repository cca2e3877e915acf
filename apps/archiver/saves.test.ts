/** Push tokens, blocks and read marks: the archive is told of them, and gives them back when Redis has lost everything. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { type Archive, type ArchiveRow, openArchive } from '../../lib/archive/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { Rebuilder } from '../../lib/rebuild/index.ts';
import { AccountVerbs } from '../../lib/redis/account-verbs.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { PushVerbs } from '../../lib/redis/push-verbs.ts';
import { ReceiptVerbs } from '../../lib/redis/receipt-verbs.ts';
import { SaveVerbs } from '../../lib/redis/save-verbs.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { createMetrics } from '../../lib/telemetry/metrics.ts';
import { born } from '../../ops/redis/born.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { Saves } from './saves.ts';

const logger = pino({ level: 'silent' });
const keys = keyspace(4);
const held = new Set([0, 1, 2, 3]);
const folder = mkdtempSync(join(tmpdir(), 'millrace-saves-'));
const metrics = createMetrics();
const DM = 'dm:ann:bob';

let server: RedisServer;
let store: RedisStore;
let archive: Archive;
let accounts: AccountVerbs;
let push: PushVerbs;
let files = 0;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  store = await connect(server.url, { logger, name: 'saves-test' });
  accounts = new AccountVerbs(store.command, keys);
  push = new PushVerbs(store.command, keys);
});
beforeEach(async () => {
  await store.command.flushall();
  await born(store.command, keys);
  await archive?.close();
  archive = await openArchive(`sqlite:${join(folder, `${++files}.sqlite`)}`, { logger });
});
afterAll(async () => {
  await archive?.close();
  await store?.close();
  await server?.stop();
  metrics.stop();
  rmSync(folder, { recursive: true, force: true });
});

const saves = (to: Archive = archive) =>
  new Saves({ verbs: new SaveVerbs(store.command, keys), archive: to, metrics, held });
const rebuilder = (from: Archive = archive) => new Rebuilder({ store, keys, archive: from, metrics, logger });
const token = (user: string, device: string, name: string) =>
  push.putDevice(user, device, { platform: 'ios', token: name }, 8);
const unsaved = async () =>
  (await Promise.all([...held].map((p) => store.command.zrange(keys.unsaved(p), '0', '-1')))).flat().sort();
/** As if the time in which watermarks are collected had passed. */
async function later(): Promise<void> {
  for (const p of held) {
    for (const item of await store.command.zrange(keys.unsaved(p), '0', '-1')) {
      await store.command.zadd(keys.unsaved(p), 0, item);
    }
  }
}

function message(seq: number, from: string): ArchiveRow {
  const ts = Date.now() - 10_000 + seq;
  const id = `${seq.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`;
  const own = { channel: DM, seq, id, logId: `${ts}-0`, type: 'message', from, clientId: `c${seq}`, ts };
  return { ...own, content: `text ${seq}` };
}
async function append(from: string, clientId: string, more: { absent?: boolean } = {}) {
  const input = { channel: DM, kind: 'direct', from, clientId, content: 'x', snippet: 'x', mayCreate: true } as const;
  const id = `${(++files).toString(16).padStart(8, '0')}-0000-1000-8000-000000000001`;
  return new Verbs(store.command, keys).append({ ...input, id, ...more });
}
/** An archive that holds one of its calls back, once it has the answer. */
function slow(name: 'account' | 'channel' | 'keep') {
  const { promise, resolve } = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const held: Archive = new Proxy(archive, {
    get(target, property) {
      const own = Reflect.get(target, property, target) as unknown;
      if (typeof own !== 'function') return own;
      if (property !== name) return own.bind(target) as unknown;
      return async (...args: unknown[]) => {
        const before = name === 'keep' ? undefined : ((await own.apply(target, args)) as unknown);
        reached.resolve();
        await promise;
        return before ?? ((await own.apply(target, args)) as unknown);
      };
    },
  });
  return { archive: held, reached: reached.promise, release: resolve };
}

it('tokens, blocks and reads get into the archive, and what is in it is not written again', async () => {
  await append('ann', 'a');
  await append('ann', 'b');
  await token('bob', 'phone', 'T1');
  await accounts.block('bob', 'cid');
  const receipts = new ReceiptVerbs(store.command, keys);
  await receipts.raise([{ channel: DM, user: 'bob', peer: 'ann', delivered: 2, read: 1 }]);
  expect(await unsaved()).toEqual(['block bob cid', 'device bob phone', `read ${DM} bob`]);
  await saves().look();
  expect(await archive.account('bob')).toEqual({
    devices: [{ device: 'phone', platform: 'ios', token: 'T1' }],
    blocks: ['cid'],
    blockedBy: [],
  });
  // Reads are collected.
  expect(await unsaved()).toEqual([`read ${DM} bob`]);
  await receipts.raise([{ channel: DM, user: 'bob', peer: 'ann', delivered: 2, read: 2 }]);
  await later();
  const keep = vi.spyOn(archive, 'keep');
  await saves().look();
  expect((await archive.channel(DM)).receipts).toEqual([{ user: 'bob', delivered: 2, read: 2 }]);
  await saves().look();
  expect(keep).toHaveBeenCalledTimes(1);
  expect(await unsaved()).toEqual([]);

  await push.forgetDevice('bob', 'phone');
  await accounts.unblock('bob', 'cid');
  await saves().look();
  expect(await archive.account('bob')).toEqual({ devices: [], blocks: [], blockedBy: [] });
});

it('who answers has read: after a loss it still reads so, however long ago the answer was', async () => {
  await append('ann', 'a');
  expect(await unsaved()).toEqual([]);
  await append('bob', 'b'); // covers ann's
  await append('bob', 'c'); // covers nothing of others
  expect(await unsaved()).toEqual([`read ${DM} bob`]);
  await append('ann', 'd');
  expect(await unsaved()).toEqual([`read ${DM} ann`, `read ${DM} bob`]);
  await later();
  await saves().look();
  // Since then ann has written more than what a lost channel is read back from.
  const rows = Array.from({ length: 250 }, (_, i) => message(i + 1, i === 1 || i === 2 ? 'bob' : 'ann'));
  await archive.write(rows);
  await store.command.flushall();
  await rebuilder().user('bob');
  expect(await store.command.hget(keys.channel(DM), 'receipt:bob')).toBe('3 3');
  expect(await store.command.hget(keys.conversations('bob'), DM)).toMatch(/^250 \d+ \d+ 3$/);
});

it('a watermark that is only received, and one that does not grow, is not worth a write', async () => {
  await append('ann', 'a');
  const receipts = new ReceiptVerbs(store.command, keys);
  await receipts.raise([{ channel: DM, user: 'bob', peer: 'ann', delivered: 1, read: 0 }]);
  await receipts.raise([{ channel: DM, user: 'ann', peer: 'bob', delivered: 1, read: 1 }]);
  expect(await unsaved()).toEqual([]);
});

it('every way in which a device loses its token reaches the archive', async () => {
  await token('ann', 'dead', 'D');
  await token('ann', 'moved', 'M');
  for (let i = 0; i < 8; i++) await token('cid', `d${i}`, `C${i}`);
  await saves().look();
  await push.dropToken('ann', 'dead', 'D');
  await token('bob', 'phone', 'M');
  await token('cid', 'one-too-many', 'C9');
  await saves().look();
  expect((await archive.account('ann')).devices).toEqual([]);
  expect((await archive.account('bob')).devices).toMatchObject([{ device: 'phone', token: 'M' }]);
  const inRedis = (await store.command.hget(keys.devices('cid'), 'pushable'))?.split(' ').sort();
  expect(inRedis).toHaveLength(8);
  expect((await archive.account('cid')).devices.map(({ device }) => device).sort()).toEqual(inRedis);
});

it('what changes while it is written is written again; a worker that was frozen in the middle wins over nobody', async () => {
  await token('bob', 'phone', 'old');
  const frozen = slow('keep');
  const late = saves(frozen.archive).look();
  await frozen.reached;
  await token('bob', 'phone', 'new');
  await saves().look();
  expect((await archive.account('bob')).devices).toMatchObject([{ token: 'new' }]);
  await push.forgetDevice('bob', 'phone');
  await saves().look();
  await token('bob', 'phone', 'newest');
  frozen.release();
  await late;
  expect((await archive.account('bob')).devices).toEqual([]);
  expect(await unsaved()).toEqual(['device bob phone']);
  await saves().look();
  expect((await archive.account('bob')).devices).toMatchObject([{ token: 'newest' }]);
});

it('while the archive is away nothing is struck off, and it is told of everything when it is back', async () => {
  await accounts.block('ann', 'bob');
  vi.spyOn(archive, 'keep').mockRejectedValueOnce(new Error('away'));
  await expect(saves().look()).rejects.toThrow('away');
  await saves().look();
  expect((await archive.account('ann')).blocks).toEqual(['bob']);
});

it('after a loss a block holds again, whether or not the two have ever written', async () => {
  await accounts.block('ann', 'bob');
  await saves().look();
  for (const rows of [[], [message(1, 'bob')]]) {
    await archive.write(rows);
    await store.command.flushall();
    expect(await append('bob', 'x')).toBe('rebuild');
    expect(await rebuilder().channel(DM)).toBe(rows.length > 0 ? 'here' : 'absent');
    expect(await append('bob', 'x', { absent: rows.length === 0 })).toBe('forbidden');
  }
  await rebuilder().account('bob');
  expect(await accounts.blockedBy('bob')).toEqual(['ann']);
  await rebuilder().account('ann');
  expect(await accounts.blocks('ann')).toEqual(['bob']);
  await accounts.unblock('ann', 'bob');
  expect(await append('bob', 'x')).toMatchObject({ duplicate: false });
});

it.each([
  ['that had begun', [message(1, 'bob')]],
  ['that had not begun', []],
])('a block that ends while a channel %s is read back does not come back', async (_, rows) => {
  await archive.write(rows);
  await accounts.block('ann', 'bob');
  await accounts.block('bob', 'ann');
  await saves().look();
  await store.command.flushall();
  await rebuilder().account('ann');
  await store.command.del(keys.channel(DM));
  const { archive: reading, reached, release } = slow('channel');
  const late = rebuilder(reading).channel(DM);
  await reached;
  await accounts.unblock('ann', 'bob');
  release();
  await late;
  // The other one's does.
  expect(await store.command.hmget(keys.channel(DM), 'blocked:bob', 'blocked')).toEqual(['1', '1']);
  await accounts.unblock('bob', 'ann');
  expect(await append('bob', 'x', { absent: rows.length === 0 })).toMatchObject({ duplicate: false });
});

it('an account is put back once: what was changed since stays changed', async () => {
  await token('ann', 'phone', 'T1');
  await token('ann', 'tablet', 'T2');
  await accounts.block('ann', 'bob');
  await saves().look();
  await store.command.flushall();
  const { archive: reading, reached, release } = slow('account');
  const late = rebuilder(reading).account('ann');
  await reached;
  await rebuilder().account('ann');
  expect(await store.command.hgetall(keys.devices('ann'))).toEqual({
    account: '1',
    'push:phone': 'ios T1',
    'push:tablet': 'ios T2',
    pushable: expect.stringMatching(/^(phone tablet|tablet phone)$/),
  });
  await accounts.unblock('ann', 'bob');
  await push.forgetDevice('ann', 'tablet');
  release();
  await late;
  expect(await accounts.blocks('ann')).toEqual([]);
  expect(await store.command.hgetall(keys.devices('ann'))).toEqual({
    account: '1',
    'push:phone': 'ios T1',
    pushable: 'phone',
  });
  const asked = vi.spyOn(archive, 'account');
  await rebuilder().account('ann');
  expect(asked).not.toHaveBeenCalled();
});

it('where nothing can be lost an account costs no archive read', async () => {
  const asked = vi.spyOn(archive, 'account');
  await rebuilder().account('ann');
  expect(asked).not.toHaveBeenCalled();
});

it('what was read before a loss is not unread after it', async () => {
  await archive.write([1, 2, 3, 4].map((seq) => message(seq, 'ann')));
  await archive.keep([{ kind: 'read', channel: DM, user: 'bob', watermarks: { delivered: 4, read: 3 } }], 1);
  await store.command.flushall();
  await rebuilder().user('bob');
  expect(await store.command.hget(keys.conversations('bob'), DM)).toMatch(/^4 \d+ 1 3$/);
  // What the other one sees of it, too.
  expect(await store.command.hget(keys.channel(DM), 'receipt:bob')).toBe('4 3');
  expect(await store.command.hget(keys.channel(DM), 'receipt:ann')).toBe('4 4');
});
