import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import { Renderer } from './render.ts';
import { Session } from './session.ts';

/** A session of bob's phone; what it writes goes nowhere. */
function sessionOfBob(): Session {
  const raw = { writableLength: 0, write: () => true } as unknown as Socket;
  const session = new Session('s', { readyState: 1 } as WebSocket, raw);
  session.caller = { user: 'bob', service: false };
  session.device = 'phone';
  return session;
}

const head = (type: string, from: string) =>
  [
    'type',
    type,
    'channel',
    'dm:alice:bob',
    'seq',
    '1',
    'id',
    `${type} ${from}`,
    'from',
    from,
    'cid',
    'c',
    'ts',
    '1',
  ] as const;
const receipt = [
  'type',
  'receipt',
  'channel',
  'dm:alice:bob',
  'user',
  'alice',
  'delivered',
  '1',
  'read',
  '1',
  'ts',
  '1',
];

test('the clock of what is not acked starts with a message by somebody else, and with nothing else', () => {
  const session = sessionOfBob();
  const renderer = new Renderer();
  expect(session.write([{ id: '1-0', fields: receipt }], renderer)).toBe(1);
  expect(session.write([{ id: '2-0', fields: [...head('message', 'bob'), 'content', 'hi'] }], renderer)).toBe(1);
  expect(session.overdueAt).toBeUndefined();
  expect(session.write([{ id: '3-0', fields: [...head('message', 'alice'), 'content', 'hi'] }], renderer)).toBe(1);
  expect(session.overdueAt).toBeGreaterThan(performance.now());
});

test('the tenth bad frame within a minute is told from ten in a longer time', () => {
  const session = sessionOfBob();
  for (let i = 0; i < 9; i++) expect(session.countBadFrame(i * 1000)).toBe(false);
  // The first is a minute old by now: nine within the last one.
  expect(session.countBadFrame(60_000)).toBe(false);
  expect(session.countBadFrame(60_500)).toBe(true);
});

test('the hundredth rate_limited within ten seconds is told from a hundred in a longer time', () => {
  const session = sessionOfBob();
  // One each 102 ms for a minute: the ninety-ninth before it is always more than ten seconds old.
  for (let now = 0; now < 60_000; now += 102) expect(session.countTooFast(now)).toBe(false);
  // A little faster, until a hundred of them are.
  const quick = Array.from({ length: 100 }, (_, i) => session.countTooFast(70_000 + i * 101));
  expect(quick).toEqual([...Array(99).fill(false), true]);
});

test('the first ack may trim the inbox, and then one in 33 entries of any kind', () => {
  const session = sessionOfBob();
  const renderer = new Renderer();
  expect(session.mayTrim()).toBe(true);
  const trims: number[] = [];
  for (let n = 1; n <= 100; n++) {
    session.write(
      [{ id: `${n}-0`, fields: n % 2 ? receipt : [...head('message', 'alice'), 'content', 'hi'] }],
      renderer,
    );
    if (session.mayTrim()) trims.push(n);
  }
  expect(trims).toEqual([33, 66, 99]);
});
