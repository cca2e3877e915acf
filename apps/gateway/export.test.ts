/** What a user takes along: whole, whatever the archiver does meanwhile; in pieces; and never half without a word. */
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { rowOf } from '../../lib/archive/from-log.ts';
import type { ArchiveRow } from '../../lib/archive/index.ts';
import { until } from '../../ops/until.ts';
import { exportOf } from './export.ts';
import { type Api, startApi } from './routes/testing.ts';

const MESSAGES = 500;

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => api.stop());

async function write(user: string): Promise<void> {
  const sends = Array.from({ length: MESSAGES }, (_, i) => {
    const id = `${i.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`;
    const message = { channel: `dm:${user}:zed`, from: user, clientId: `c${i}`, id, content: `${i}`, snippet: `${i}` };
    return api.ctx.verbs.append({ ...message, kind: 'direct', mayCreate: true });
  });
  await Promise.all(sends);
}

/** What the archiver does when it has caught up, of a log that is kept no longer than it needs it. */
async function archiveAll(): Promise<void> {
  const { store, keys, archive, verbs, config } = api.ctx;
  for (let p = 0; p < keys.partitions; p++) {
    const entries = await store.command.xrange(keys.log(p), '-', '+');
    if (entries.length === 0) continue;
    await archive.write(entries.map(([id, fields]) => rowOf({ id, fields })));
    await verbs.advance(p, 'archiver', entries.at(-1)![0], { ...config, tailMs: 0 }, ['archiver']);
  }
}

/** The contents of the user's messages, with the archiver catching up after so many pieces. */
async function exported(user: string, pieces: number): Promise<string[]> {
  let text = '';
  let taken = 0;
  for await (const piece of exportOf(api.ctx, user)) {
    text += piece;
    if (++taken === pieces) await archiveAll();
  }
  const lines = text.trimEnd().split('\n');
  return lines.flatMap((line) => {
    const { type, content } = JSON.parse(line) as { type: string; content: string };
    return type === 'message' ? [content] : [];
  });
}

const all = Array.from({ length: MESSAGES }, (_, i) => `${i}`).sort();

test('is whole though the archiver takes over, and trims, what was in the log when the export began', async () => {
  await write('ann');
  expect((await exported('ann', 1)).sort()).toEqual(all);
  expect((await exported('ann', 0)).sort()).toEqual(all);
});

test('breaks off where the log is trimmed while it is read, and is whole when asked for again', async () => {
  await write('ben');
  // The user, the page of the log in which the archiver overtakes it.
  await expect(exported('ben', 2)).rejects.toMatchObject({ code: 'unavailable' });
  expect((await exported('ben', 0)).sort()).toEqual(all);
});

const ask = async (user: string) => {
  const headers = { authorization: api.authorization(user) };
  const url = `http://127.0.0.1:${api.port}/v1/users/${user}/export`;
  const [response] = (await once(get(url, { headers }), 'response')) as [IncomingMessage];
  return response;
};

const page = (after: number): ArchiveRow[] =>
  Array.from({ length: 200 }, (_, i) => ({
    logId: '0-1',
    type: 'message',
    channel: 'dm:cyd:zed',
    seq: after + i + 1,
    id: '00000000-0000-1000-8000-000000000000',
    from: 'cyd',
    ts: 1,
    clientId: `c${after + i}`,
    content: 'x'.repeat(8_000),
  }));

test('is read no faster than it is taken, and its first line does not wait for the last', async () => {
  vi.spyOn(api.ctx.archive, 'sentIn').mockResolvedValue([{ channel: 'dm:cyd:zed', bucket: 0 }]);
  const pages = vi
    .spyOn(api.ctx.archive, 'page')
    .mockImplementation(async (_, { after = 0 }) => (after < 200_000 ? page(after) : []));
  await write('cyd');
  await archiveAll();
  const response = await ask('cyd');
  const [first] = (await once(response, 'data')) as [Buffer];
  response.pause();
  expect(JSON.parse(String(first).split('\n')[0] ?? '')).toMatchObject({ type: 'user', user: 'cyd' });
  // What sockets hold is some megabytes, a page is 1.6: it stands still long before the thousand that there are.
  let seen = -1;
  await until(
    'it stands still',
    20_000,
    async () => {
      const before = seen;
      await new Promise((resolve) => setTimeout(resolve, 300));
      seen = pages.mock.calls.length;
      return seen === before;
    },
    (still) => still,
  );
  expect(seen).toBeGreaterThan(0);
  expect(seen).toBeLessThan(40);
  response.destroy();
});

test('what fails on the way breaks the connection: half an export does not look like a whole one', async () => {
  await write('dan');
  await archiveAll();
  vi.spyOn(api.ctx.archive, 'page').mockRejectedValue(new Error('the archive is away'));
  const response = await ask('dan');
  expect(response.statusCode).toBe(200);
  response.resume();
  await expect(once(response, 'end')).rejects.toMatchObject({ code: 'ECONNRESET' });
});
