import { expect, test } from 'vitest';
import { checkBody, checkPath, checkQuery } from './check.ts';
import { errorBody, errorFrame, MillraceError } from './errors.ts';
import * as http from './http.ts';

function codeOf(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof MillraceError) return error.code;
    throw error;
  }
}

test('bodies have the codes of frames', () => {
  const send = (body: unknown) => codeOf(() => checkBody(http.PostMessage, body));
  const ok = { to: 'bob', client_id: 'c', content: 'x' };
  expect(send(ok)).toBe('ok');
  expect(send({ ...ok, zzz: 1 })).toBe('ok');
  for (const body of [undefined, null, 'x', [], 5, {}, { ...ok, content: 5 }, { ...ok, to: null }]) {
    expect(send(body), JSON.stringify(body)).toBe('bad_frame');
  }
  expect(send({ ...ok, channel: 'g:a' })).toBe('bad_request');
  expect(send({ client_id: 'c', content: 'x' })).toBe('bad_request');
  expect(send({ ...ok, content: '\ud800' })).toBe('bad_request');
  expect(send({ ...ok, content: 'x'.repeat(8193) })).toBe('too_large');
  expect(send({ ...ok, metadata: { k: 'x'.repeat(2048) } })).toBe('too_large');
});

test('elements count as part of a type, unknown words as of the right one', () => {
  const channel = (body: unknown) => codeOf(() => checkBody(http.PostChannel, body));
  expect(channel({ members: ['bob'], title: '😀'.repeat(200) })).toBe('ok');
  expect(channel({ members: [5] })).toBe('bad_frame');
  expect(channel({ members: ['a:b'] })).toBe('bad_request');
  expect(channel({ members: [], title: 'x'.repeat(201) })).toBe('bad_request');
  expect(channel({ members: [], title: 'e\u0301'.repeat(150) })).toBe('bad_request');
  expect(channel({ members: [], title: '\udc00' })).toBe('bad_request');
  expect(codeOf(() => checkBody(http.PutMember, { role: 'boss' }))).toBe('bad_request');
  expect(codeOf(() => checkBody(http.PutMember, { role: 5 }))).toBe('bad_frame');
  expect(codeOf(() => checkBody(http.PutMember, {}))).toBe('ok');
  expect(codeOf(() => checkBody(http.PutDevice, { platform: 'vms', push_token: 'x' }))).toBe('bad_request');
});

test('queries are read from strings', () => {
  expect(checkQuery(http.HistoryQuery, { after: '0', limit: '200', other: 'x' })).toEqual({ after: 0, limit: 200 });
  expect(checkQuery(http.HistoryQuery, undefined)).toEqual({});
  expect(checkQuery(http.PresenceQuery, { users: 'a,b' })).toEqual({ users: ['a', 'b'] });
  const bad = [{ limit: '0' }, { limit: '201' }, { limit: 'x' }, { limit: '' }, { limit: '1.5' }, { after: '-1' }];
  for (const query of [
    ...bad,
    { before: '0' },
    { before: '3', after: '1' },
    { limit: '1e2' },
    { limit: '9'.repeat(400) },
  ]) {
    expect(
      codeOf(() => checkQuery(http.HistoryQuery, query)),
      JSON.stringify(query),
    ).toBe('bad_request');
  }
  expect(codeOf(() => checkQuery(http.HistoryQuery, { limit: ['1', '2'] }))).toBe('bad_frame');
  expect(codeOf(() => checkQuery(http.PresenceQuery, {}))).toBe('bad_frame');
  for (const users of ['', 'a,', 'a:b', Array(101).fill('a').join()]) {
    expect(
      codeOf(() => checkQuery(http.PresenceQuery, { users })),
      users,
    ).toBe('bad_request');
  }
  expect(checkQuery(http.ConversationsQuery, JSON.parse('{"__proto__":{"limit":"5"}}'))).toEqual({});
});

test('malformed ids in a path are bad_request', () => {
  expect(checkPath(http.MessagePath, { channel: 'dm:a:b', seq: '7' })).toEqual({ channel: 'dm:a:b', seq: 7 });
  for (const path of [
    { channel: 'dm:b:a', seq: '7' },
    { channel: 'g:a', seq: '0' },
    { channel: 'g:a', seq: 'x' },
  ]) {
    expect(codeOf(() => checkPath(http.MessagePath, path))).toBe('bad_request');
  }
  expect(codeOf(() => checkPath(http.UserPath, { user: '..%' }))).toBe('bad_request');
});

test('errors on the wire', () => {
  const error = new MillraceError('rate_limited', 'slow down', { retryAfterMs: 50 });
  expect(error.status).toBe(429);
  expect(errorBody(error)).toEqual({ error: { code: 'rate_limited', message: 'slow down', retry_after_ms: 50 } });
  expect(errorFrame(new MillraceError('not_found', 'no'), { ref: 'r', client_id: 'c' })).toEqual({
    type: 'error',
    code: 'not_found',
    message: 'no',
    client_id: 'c',
    ref: 'r',
  });
});
