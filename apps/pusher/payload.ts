/**
 * A wake-up as FCM takes it, for Android, Apple and the web at once: FCM picks what is the device's. What it says of the
 * message is the operator's choice (PUSH_SNIPPET): pushes pass through Google's and Apple's hands, and over lock screens.
 *
 * One collapse key for all: a device that was off for a while is woken once, and its app fetches what there is.
 */
import type { TokenMessage } from 'firebase-admin/messaging';
import type { PushSnippet } from '../../lib/config/index.ts';
import type { Wake } from './sender.ts';

const COLLAPSE_KEY = 'millrace';
/** As long as the inbox keeps what it is for. */
const TTL_S = 7 * 24 * 3600;

export function messageFor(wake: Wake, snippet: PushSnippet, nowMs: number): TokenMessage {
  const notification = textFor(wake, snippet);
  // Whose message it is, and in which channel, tells who writes to whom.
  const about: Record<string, string> =
    snippet === 'none' ? {} : { channel: wake.channel, seq: wake.seq, from: wake.sender };
  return {
    token: wake.token,
    notification,
    data: { type: 'message', user: wake.user, id: wake.id, count: String(wake.count), ...about },
    android: {
      priority: 'high',
      ttl: TTL_S * 1000,
      collapseKey: COLLAPSE_KEY,
      notification: { tag: COLLAPSE_KEY, notificationCount: wake.count },
    },
    apns: {
      headers: {
        'apns-priority': '10',
        'apns-collapse-id': COLLAPSE_KEY,
        'apns-expiration': String(Math.floor(nowMs / 1000) + TTL_S),
      },
      payload: { aps: { sound: 'default', mutableContent: true, threadId: COLLAPSE_KEY } },
    },
    webpush: {
      headers: { TTL: String(TTL_S), Urgency: 'high', Topic: COLLAPSE_KEY },
      notification: { ...notification, tag: COLLAPSE_KEY, renotify: true },
    },
  };
}

/** As `lua/include/wakeups.lua` cuts it, in bytes: from here on something may be missing. */
const CUT_BYTES = 237;
const people = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

const printable = (text: string) => text.replace(/\p{Cc}+/gu, ' ').trim();

/** A line for a lock screen. What was cut between two code points may end in half of what people call a character. */
function lineOf(snippet: string): string {
  const line = printable(snippet);
  if (Buffer.byteLength(snippet) < CUT_BYTES) return line;
  const whole = [...people.segment(line)].slice(0, -1).map(({ segment }) => segment);
  return whole.length === 0 ? '' : `${whole.join('')}…`;
}

function textFor({ count, sender, senderName, snippet }: Wake, mode: PushSnippet): { title: string; body?: string } {
  const howMany = count === 1 ? 'New message' : `${count} new messages`;
  if (mode === 'none') return { title: howMany };
  const title = printable(senderName) || sender;
  const line = mode === 'sender' ? '' : lineOf(snippet);
  if (line === '') return { title, body: howMany };
  return { title, body: count === 1 ? line : `${line} (+${count - 1})` };
}
