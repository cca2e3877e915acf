import { expect, test } from 'vitest';
import { messageFor } from './payload.ts';
import type { Wake } from './sender.ts';

const wake = (more: Partial<Wake> = {}): Wake => ({
  user: 'bob',
  device: 'phone',
  platform: 'android',
  token: 'bobs-token',
  count: 3,
  sender: 'alice',
  senderName: 'Alice A.',
  channel: 'dm:alice:bob',
  seq: '7',
  id: 'an-id',
  snippet: 'see you at the mill',
  ...more,
});
const sentWith = (setting: 'none' | 'sender' | 'snippet', more: Partial<Wake> = {}) =>
  messageFor(wake(more), setting, 0);
/** The text that ends with the last whole character that fits into 240 bytes, as the store cuts it. */
const cut = (text: string) =>
  Buffer.from(text)
    .subarray(0, 240)
    .toString('utf8')
    .replace(/\uFFFD+$/, '');

test('a push tells what PUSH_SNIPPET allows, and nothing more', () => {
  const none = JSON.stringify(sentWith('none'));
  for (const secret of ['alice', 'Alice', 'see you', 'dm:']) expect(none).not.toContain(secret);
  expect(sentWith('none').notification).toEqual({ title: '3 new messages' });
  const sender = JSON.stringify(sentWith('sender'));
  expect(sender).not.toContain('see you');
  expect(sentWith('sender').notification).toEqual({ title: 'Alice A.', body: '3 new messages' });
  expect(sentWith('snippet').notification).toEqual({ title: 'Alice A.', body: 'see you at the mill (+2)' });
  expect(sentWith('snippet', { senderName: '' }).notification).toMatchObject({ title: 'alice' });
});

test('a text that was cut ends with a whole character as people see it, and an ellipsis', () => {
  const family = '👩‍👩‍👧‍👦';
  const body = sentWith('snippet', { count: 1, snippet: cut(family.repeat(20)) }).notification?.body ?? '';
  expect(body.isWellFormed()).toBe(true);
  expect(body.endsWith('…')).toBe(true);
  expect(body.slice(0, -1).replaceAll(family, '')).toBe('');
  const short = sentWith('snippet', { count: 1, snippet: family.repeat(3) }).notification?.body;
  expect(short).toBe(family.repeat(3));
});

test('the worst contents stay below FCM’s 4 KiB', () => {
  const id = 'u'.repeat(64);
  for (const filling of ['"', '\\', '\u0001', '\n', '字', '👍', 'a']) {
    const text = cut(filling.repeat(400));
    const channel = `dm:${'a'.repeat(64)}:${id}`;
    const about = { user: id, sender: id, senderName: filling.repeat(32), channel, seq: '9007199254740991' };
    const { token: _, ...message } = sentWith('snippet', { ...about, snippet: text, count: 50_000 });
    expect(Buffer.byteLength(JSON.stringify(message)), filling).toBeLessThan(4096);
  }
});
