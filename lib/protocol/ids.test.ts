import { expect, test } from 'vitest';
import { directChannel, fitsUtf8, isOffset, isPartyTo, isText, metadataJson, parseChannel, utf8Bytes } from './ids.ts';

test('a direct channel is the same from both sides, in byte order', () => {
  expect(directChannel('bob', 'alice')).toBe('dm:alice:bob');
  expect(directChannel('alice', 'bob')).toBe('dm:alice:bob');
  expect(directChannel('a', 'B')).toBe('dm:B:a');
  expect(directChannel('a', 'a')).toBe('dm:a:a');
  for (const [a, b] of [
    ['a', 'a.'],
    ['-', '.'],
    ['_', 'Z'],
    ['10', '9'],
  ] as const) {
    const id = directChannel(a, b);
    const low = Buffer.compare(Buffer.from(a), Buffer.from(b)) <= 0 ? a : b;
    expect(parseChannel(id)).toEqual({ kind: 'direct', a: low, b: low === a ? b : a });
  }
});

test('who may be party to a channel by its name', () => {
  expect(isPartyTo(parseChannel('dm:a:b')!, 'a')).toBe(true);
  expect(isPartyTo(parseChannel('dm:a:b')!, 'c')).toBe(false);
  expect(isPartyTo(parseChannel('g:x')!, 'c')).toBe(true);
});

test('lengths in UTF-8 are what an encoder makes', () => {
  for (const text of ['', 'a', 'é', '€', '😀', 'a😀€é\0', '\ud83d', '\udc00\ud83d', '\ud83dx', '\ud83d\ud83d\ude00']) {
    expect(utf8Bytes(text), text).toBe(Buffer.byteLength(text));
    expect(fitsUtf8(text, Buffer.byteLength(text))).toBe(true);
    if (text !== '') expect(fitsUtf8(text, Buffer.byteLength(text) - 1)).toBe(false);
  }
});

test('characters are scalar values', () => {
  expect(isText('😀'.repeat(200), 200)).toBe(true);
  expect(isText('😀'.repeat(201), 200)).toBe(false);
  expect(isText('e\u0301'.repeat(101), 200)).toBe(false);
});

test('an offset is what the store takes as a stream id', () => {
  expect(['0-0', '1763966400000-12', '18446744073709551615-0'].every(isOffset)).toBe(true);
  expect(['', '0', '0-', '-0', '00-0', '0-00', '18446744073709551616-0', '1-0-0', ' 1-0', '1-0 '].some(isOffset)).toBe(
    false,
  );
});

test('metadata becomes compact JSON', () => {
  expect(metadataJson({ b: '1', a: '"' }, 2048)).toBe('{"b":"1","a":"\\""}');
  expect(metadataJson({ a: 'é' }, 9)).toEqual({ problem: 'too_large' });
  expect(metadataJson({ a: '\ud800' }, 9)).toEqual({ problem: 'bad_request' });
});
