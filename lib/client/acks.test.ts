import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ACK_DELAY_MS, ACK_EVERY, ACK_INTERVAL_MS, Acks } from './acks.ts';
import { MemoryStorage } from './storage.ts';

describe('an ack', () => {
  let acks: Acks;
  let sent: { offset: string; at: number }[];
  let offset: number;

  beforeEach(() => {
    vi.useFakeTimers({ now: 0 });
    sent = [];
    offset = 0;
    acks = new Acks({
      storage: new MemoryStorage(),
      delayMs: ACK_DELAY_MS,
      intervalMs: ACK_INTERVAL_MS,
      every: ACK_EVERY,
      now: Date.now,
      write: (acked) => sent.push({ offset: acked, at: Date.now() }) > 0,
      failed: (error) => expect.unreachable(String(error)),
    });
    acks.begin('0-0');
  });
  afterEach(() => void vi.useRealTimers());

  const come = (how: 'done' | 'passed' = 'done') => {
    acks.sessionOffset = `${++offset}-0`;
    acks[how](acks.sessionOffset);
  };

  it('comes soon after the first message of a quiet time, then one a second covers what came meanwhile', async () => {
    await vi.advanceTimersByTimeAsync(5_000);
    for (let i = 0; i < 30; i++) {
      come();
      await vi.advanceTimersByTimeAsync(50);
    }
    await vi.advanceTimersByTimeAsync(5_000);
    come();
    await vi.advanceTimersByTimeAsync(ACK_DELAY_MS);
    expect(sent).toEqual([
      { offset: '2-0', at: 5_100 },
      { offset: '22-0', at: 6_100 },
      { offset: '30-0', at: 7_100 },
      { offset: '31-0', at: 11_600 },
    ]);
  });

  it('does not wait when very many have come', async () => {
    for (let i = 0; i < ACK_EVERY; i++) come();
    await vi.advanceTimersByTimeAsync(0);
    expect(sent).toEqual([{ offset: `${ACK_EVERY}-0`, at: 0 }]);
  });

  it('is not sent for what only passes, but covers it, and a flush sends it', async () => {
    for (let i = 0; i < 2 * ACK_EVERY; i++) come('passed');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sent).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    come();
    come('passed');
    await vi.advanceTimersByTimeAsync(ACK_DELAY_MS);
    expect(sent).toEqual([{ offset: `${offset}-0`, at: 60_000 + ACK_DELAY_MS }]);
    come('passed');
    await acks.flush();
    expect(sent.at(-1)?.offset).toBe(`${offset}-0`);
    await acks.flush();
    expect(sent).toHaveLength(2);
  });
});
