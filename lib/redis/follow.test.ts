import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import type { StreamBatch } from './blocking.ts';
import type { RedisStore } from './connect.ts';
import { RedisUnreachableError } from './errors.ts';
import { LogFollower } from './follow.ts';

interface Read {
  streams: readonly { key: string; after: string }[];
  answer(batches: StreamBatch[]): void;
}

/** A connection whose reads are answered by the test. */
function follow(handled: string[], plain: (after: string) => string[] = () => []) {
  const reads: Read[] = [];
  /** Filled: the connection breaks before the next read that continues another. */
  const broken: true[] = [];
  const out = new Set<Read>();
  let asked: (() => void) | undefined;
  const connection = {
    xread: (streams: Read['streams'], { blockMs, readOn }: { blockMs?: number; readOn?: boolean }) =>
      new Promise<StreamBatch[]>((resolve, reject) => {
        if (blockMs === undefined) {
          if (!readOn || broken.splice(0).length > 0) return reject(new RedisUnreachableError('another connection'));
          const [{ key, after } = { key: '', after: '' }] = streams;
          return resolve([{ key, entries: plain(after).map((id) => ({ id, fields: ['type', 'message'] })) }]);
        }
        const read: Read = { streams, answer: resolve };
        reads.push(read);
        out.add(read);
        asked?.();
      }),
    onReconnect: () => undefined,
    close: () => {
      for (const read of out) read.answer([]);
    },
  };
  const follower = new LogFollower({
    store: {
      kind: 'standalone',
      blocking: async () => connection,
    } as unknown as RedisStore,
    partitions: 16,
    replicas: 0,
    logKey: (p) => `log:${p}`,
    logger: pino({ level: 'silent' }),
    count: 2,
    roundCount: 5,
    intervalMs: () => 0,
    handle: async (batches) => void handled.push(...batches.flatMap((b) => b.entries.map((e) => e.id))),
    onRound: () => undefined,
    onRetry: () => undefined,
  });
  const next = async (): Promise<Read> => {
    while (reads.length === 0) await new Promise<void>((resolve) => (asked = resolve));
    return reads.shift()!;
  };
  return { follower, next, break: () => void broken.push(true) };
}

let running: LogFollower | undefined;
afterEach(async () => running?.stop());

const entries = (...ids: string[]): StreamBatch[] => [
  { key: 'log:3', entries: ids.map((id) => ({ id, fields: ['type', 'message'] })) },
];

it('a read that began before a partition was lost and gained again skips nothing', async () => {
  const handled: string[] = [];
  const { follower, next } = follow(handled);
  running = follower;
  follower.add(3, '20-0');
  const old = await next();
  expect(old.streams).toEqual([{ key: 'log:3', after: '20-0' }]);
  // The blocking read is still out when the partition goes and comes back, from a target's cursor that is further behind.
  follower.add(4, '0-0');
  await follower.remove(3);
  follower.add(3, '10-0');
  old.answer(entries('21-0'));
  const fresh = await next();
  expect(fresh.streams).toContainEqual({ key: 'log:3', after: '10-0' });
  fresh.answer(entries('11-0', '21-0'));
  await next();
  expect(handled).toEqual(['11-0', '21-0']);
});

it('a full read is continued by plain ones, up to a bound', async () => {
  const handled: string[] = [];
  const log = ['1-0', '2-0', '3-0', '4-0', '5-0', '6-0', '7-0', '8-0'];
  const { follower, next } = follow(handled, (after) => {
    const from = log.indexOf(after) + 1;
    return log.slice(from, from + 2);
  });
  running = follower;
  follower.add(3, '0-0');
  (await next()).answer(entries('1-0', '2-0'));
  const second = await next();
  expect(handled).toEqual(log.slice(0, 6));
  expect(second.streams).toEqual([{ key: 'log:3', after: '6-0' }]);
  second.answer(entries('7-0', '8-0'));
  await next();
  expect(handled).toEqual(log);
});

it('a partition that goes and comes back while a full read is continued is not moved past what it has to read', async () => {
  const handled: string[] = [];
  const { follower, next } = follow(handled, (after) => {
    if (after !== '22-0') return [];
    void follower.remove(3);
    follower.add(3, '10-0');
    return ['23-0'];
  });
  running = follower;
  follower.add(4, '0-0');
  follower.add(3, '20-0');
  let read = await next();
  while (read.streams.length < 2) {
    read.answer([]);
    read = await next();
  }
  read.answer(entries('21-0', '22-0'));
  const fresh = await next();
  expect(fresh.streams).toContainEqual({ key: 'log:3', after: '10-0' });
  expect(handled).toEqual([]);
});

it('a full read whose continuation finds another connection is not handled: all of it is read again', async () => {
  const handled: string[] = [];
  const { follower, next, break: cut } = follow(handled);
  running = follower;
  follower.add(3, '0-0');
  const first = await next();
  cut();
  first.answer(entries('1-0', '2-0'));
  // The other server never had 2-0.
  const again = await next();
  expect(again.streams).toEqual([{ key: 'log:3', after: '0-0' }]);
  expect(handled).toEqual([]);
  again.answer(entries('1-0'));
  await next();
  expect(handled).toEqual(['1-0']);
});
