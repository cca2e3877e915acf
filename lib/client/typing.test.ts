import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TypingFrame } from '../protocol/frames.ts';
import { newClient, startServer } from './harness.ts';
import type { TypingEvent } from './index.ts';
import { until } from './scripted-server.ts';
import { EXPIRE_MS, RENEW_MS, Typing } from './typing.ts';

const DM = 'dm:alice:bob';
const GROUP = 'g:one';

describe('typing', () => {
  let sent: TypingFrame[];
  let told: TypingEvent[];
  let live: boolean;
  let typing: Typing;

  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    told = [];
    live = true;
    typing = new Typing({
      write: (frame) => live && sent.push(frame) > 0,
      changed: (event) => void told.push(event),
      now: Date.now,
    });
  });
  afterEach(() => void vi.useRealTimers());

  const heard = (user: string, on: boolean, channel = DM) => typing.heard({ type: 'typing', channel, user, on });

  it('is said once and then seldom while it lasts; the end at once, and only if it was said', () => {
    typing.say(DM, false);
    for (let ms = 0; ms < 2 * RENEW_MS; ms += 100) {
      typing.say(DM, true);
      vi.advanceTimersByTime(100);
    }
    expect(sent).toHaveLength(2);
    typing.say(GROUP, true);
    typing.say(DM, false);
    typing.say(DM, false);
    typing.say(DM, true);
    expect(sent.slice(2)).toEqual([
      { type: 'typing', channel: GROUP, on: true },
      { type: 'typing', channel: DM, on: false },
      { type: 'typing', channel: DM, on: true },
    ]);
  });

  it('is ended by one’s message, said anew in another session, and not kept for later without one', () => {
    typing.say(DM, true);
    typing.wrote(DM);
    typing.say(DM, false);
    typing.say(DM, true);
    typing.forgetSaid();
    typing.say(DM, true);
    expect(sent).toHaveLength(3);
    live = false;
    typing.say(GROUP, true);
    live = true;
    typing.say(GROUP, false);
    expect(sent).toHaveLength(3);
    typing.say(GROUP, true);
    expect(sent).toHaveLength(4);
  });

  it('of others is over when they say so, or say nothing for a while; renewals are no news', () => {
    heard('alice', true);
    vi.advanceTimersByTime(EXPIRE_MS / 2);
    heard('alice', true);
    heard('carol', true, GROUP);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(EXPIRE_MS - 1);
    expect(told).toEqual([
      { channel: DM, user: 'alice', on: true },
      { channel: GROUP, user: 'carol', on: true },
    ]);
    heard('carol', false, GROUP);
    heard('carol', false, GROUP);
    expect(told.slice(2)).toEqual([{ channel: GROUP, user: 'carol', on: false }]);
    vi.advanceTimersByTime(1);
    expect(told.slice(3)).toEqual([{ channel: DM, user: 'alice', on: false }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('needs no timer once the last one has stopped', () => {
    heard('alice', true);
    heard('carol', true);
    typing.ended(DM, 'alice');
    expect(vi.getTimerCount()).toBe(1);
    typing.ended(DM, 'carol');
    expect(vi.getTimerCount()).toBe(0);
    heard('alice', true);
    vi.advanceTimersByTime(EXPIRE_MS);
    expect(told.slice(-2)).toEqual([
      { channel: DM, user: 'alice', on: true },
      { channel: DM, user: 'alice', on: false },
    ]);
  });
});

describe('typing in a session', () => {
  it('is sent when live, told as an event, and ended by their message before it is shown', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    const told: unknown[] = [];
    client.on('typing', ({ user, on }) => void told.push(`${user} ${on}`));
    client.on('message', ({ content }) => void told.push(content));
    client.typing(DM);
    await client.connect();
    await until('live', () => client.state === 'live');
    client.typing(DM);
    client.typing(DM);
    await client.send({ to: 'alice', content: 'ends it' });
    client.typing(DM, false);
    client.typing(DM);
    await until('said', () => server.sent('typing').length === 2);
    expect(server.sent('typing')).toEqual(Array(2).fill({ type: 'typing', channel: DM, on: true }));
    server.write(server.last, { type: 'typing', channel: DM, user: 'alice', on: true });
    server.post(DM, 'alice', 'written');
    await until('shown', () => told.length === 3);
    expect(told).toEqual(['alice true', 'alice false', 'written']);
  });
});
