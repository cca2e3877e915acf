import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import type { StreamBatch } from './blocking.ts';
import type { RedisStore } from './connect.ts';
import { LogFollower } from './follow.ts';

interface Read {
  streams: readonly { key: string; after: string }[];
  answer(batches: StreamBatch[]): void;
}

/** A connection whose reads are answered by the test. */
function follow(handled: string[]) {
  const reads: Read[] = [];
  const out = new Set<Read>();
  let asked: (() => void) | undefined;
  const connection = {
    xread: (streams: Read['streams']) =>
      new Promise<StreamBatch[]>((resolve) => {
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
    store: { kind: 'standalone', blocking: async () => connection } as unknown as RedisStore,
    partitions: 16,
    logKey: (p) => `log:${p}`,
    logger: pino({ level: 'silent' }),
    count: 10,
    pauseMs: 0,
    handle: async (batches) => void handled.push(...batches.flatMap((b) => b.entries.map((e) => e.id))),
    onRound: () => undefined,
    onRetry: () => undefined,
  });
  const next = async (): Promise<Read> => {
    while (reads.length === 0) await new Promise<void>((resolve) => (asked = resolve));
    return reads.shift()!;
  };
  return { follower, next };
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
