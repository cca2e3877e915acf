import { expect, test } from 'vitest';
import type { JsonSchema } from './acceptable.ts';
import { compileChecker } from './acceptable.ts';
import { encodeAccepted, encodeMessage, encodeReceipt } from './encode.ts';
import { type AcceptedFrame, type MessageFrame, type ReceiptFrame, serverFrames } from './frames.ts';
import { DEFAULT_LIMITS } from './limits.ts';

const id = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';
const texts = ['hi', '"\\\n\0', 'é€😀', '\u2028\u2029', '</script>', '{"a":1}'];

test('message frames equal JSON.stringify of the typed frame', () => {
  const checker = compileChecker(serverFrames.message as JsonSchema);
  for (const content of texts) {
    for (const metadata of [undefined, {}, { k: content, [content]: 'v' }]) {
      const frame: MessageFrame = {
        type: 'message',
        offset: '1763966400000-0',
        channel: 'dm:alice:bob',
        seq: 12,
        id,
        from: 'alice',
        client_id: '"\\c',
        ts: 1_763_966_400_000,
        content,
        ...(metadata === undefined ? {} : { metadata }),
      };
      expect(checker.wrongType(frame) ?? checker.notAcceptable(frame, DEFAULT_LIMITS)).toBeUndefined();
      const stored = metadata === undefined ? undefined : JSON.stringify(metadata);
      expect(encodeMessage({ ...frame, metadata: stored })).toBe(JSON.stringify(frame));
      expect(encodeMessage({ ...frame, seq: '12', ts: '1763966400000', metadata: stored })).toBe(JSON.stringify(frame));
    }
  }
});

test('accepted frames equal JSON.stringify of the typed frame', () => {
  const checker = compileChecker(serverFrames.accepted as JsonSchema);
  for (const ref of [undefined, ...texts]) {
    const frame: AcceptedFrame = {
      type: 'accepted',
      client_id: '"\\c',
      channel: 'g:abc',
      seq: 1,
      id,
      ts: 1_763_966_400_000,
      duplicate: ref === undefined,
      ...(ref === undefined ? {} : { ref }),
    };
    expect(checker.wrongType(frame) ?? checker.notAcceptable(frame, DEFAULT_LIMITS)).toBeUndefined();
    expect(encodeAccepted(frame)).toBe(JSON.stringify(frame));
  }
});

test('receipt frames equal JSON.stringify of the typed frame', () => {
  const checker = compileChecker(serverFrames.receipt as JsonSchema);
  const frame: ReceiptFrame = {
    type: 'receipt',
    offset: '1763966400000-0',
    channel: 'dm:alice:bob',
    user: 'bob',
    delivered: 12,
    read: 7,
    ts: 1_763_966_400_000,
  };
  expect(checker.wrongType(frame) ?? checker.notAcceptable(frame, DEFAULT_LIMITS)).toBeUndefined();
  expect(encodeReceipt(frame)).toBe(JSON.stringify(frame));
  expect(encodeReceipt({ ...frame, delivered: '12', read: '7', ts: '1763966400000' })).toBe(JSON.stringify(frame));
});
