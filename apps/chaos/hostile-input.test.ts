/** Every misuse of the WebSocket’s frames that we could think of gets the answer of the protocol, and a neighbour notices nothing. */
import { describe, expect, it } from 'vitest';
import type { JsonSchema } from '../../lib/protocol/acceptable.ts';
import { clientFrames } from '../../lib/protocol/frames.ts';
import { endOf, hostilities, refused } from './hostile.ts';
import { RawSession } from './raw-session.ts';

const here = hostilities();

const VALID: Record<string, unknown> = {
  token: 'x',
  device: 'phone',
  since: '0-0',
  user: 'x',
  ref: 'r',
  client_id: 'c',
  channel: 'dm:hostile:x',
  to: 'x',
  content: 'x',
  metadata: { a: 'b' },
  offset: '0-0',
  seq: 1,
  on: true,
  users: ['x'],
  n: 1,
};
const ANYTHING: unknown[] = [null, true, 7, 1.5, 'text', [], {}];

function typeOf(value: unknown): string[] {
  if (value === null) return ['null'];
  if (Array.isArray(value)) return ['array'];
  if (typeof value === 'number') return Number.isInteger(value) ? ['integer', 'number'] : ['number'];
  return [typeof value];
}

/** For each field of each frame every value of another type, and the frame without it where it is required. */
function mistyped(): string[] {
  const texts: string[] = [];
  for (const [type, schema] of Object.entries(clientFrames) as [string, JsonSchema][]) {
    const fields = Object.entries(schema.properties ?? {}).filter(([name]) => name !== 'type');
    const whole: Record<string, unknown> = { type };
    for (const [name] of fields) if (!(type === 'send' && name === 'channel')) whole[name] = VALID[name];
    for (const [name, field] of fields) {
      if (type === 'hello' && name === 'token') continue; // a failed authentication, below
      const wrong = ANYTHING.filter((value) => !typeOf(value).includes(field.type ?? ''));
      if (name === 'users') wrong.push([5], [null], [['x']]);
      if (name === 'metadata') wrong.push({ a: 5 }, { a: null }, { a: { b: 'c' } });
      for (const value of wrong) texts.push(JSON.stringify({ ...whole, [name]: value }));
      if (schema.required?.includes(name)) texts.push(JSON.stringify({ ...whole, [name]: undefined }));
    }
  }
  return texts;
}

describe('frames that are refused, while the session lives on', () => {
  it('bad_frame: what is not a JSON object of a known type with fields of the right types', async () => {
    const texts = [
      '',
      ' ',
      '{',
      'hello',
      '{"type":"ping"',
      '{"type":"ping"}}',
      '"ping"',
      '5',
      'null',
      'true',
      '[]',
      '[{"type":"ping"}]',
      '{}',
      '{"type":null}',
      '{"type":["ping"]}',
      '{"type":"Ping"}',
      '{"type":"constructor"}',
      '{"type":"__proto__"}',
      '{"type":"toString"}',
      '{"__proto__":{"type":"ping"}}',
      '{"type":"ping","n":1e999}',
      '{"type":"ping","n":0.1}',
      `{"type":"send","client_id":"c","to":"x","content":${'['.repeat(5000)}${']'.repeat(5000)}}`,
      `{"type":"send","client_id":"c","to":"x","content":"x","metadata":${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}}`,
      '['.repeat(16_000),
      '\u0000',
      ...mistyped(),
    ];
    expect(texts.length).toBeGreaterThan(200);
    // The tenth within a minute ends the session: nine for each.
    const chunks = Array.from({ length: Math.ceil(texts.length / 9) }, (_, i) => texts.slice(9 * i, 9 * i + 9));
    for (const chunk of chunks) {
      const session = await here.start('hostile');
      for (const text of chunk) {
        const error = await refused(session, text);
        expect([error.code, text]).toEqual(['bad_frame', text]);
        if (/"ref":"r"/.test(text)) expect(error.ref).toBe('r');
      }
      await session.ping('alive');
      await session.close();
    }
  });

  it('bad_request and too_large: well-formed, but not acceptable; these are not counted', async () => {
    const session = await here.start('hostile');
    const send = (fields: object) => ({ type: 'send', client_id: 'c', to: 'x', content: 'x', ...fields });
    const edit = (fields: object) => ({
      type: 'edit',
      client_id: 'e',
      channel: 'dm:hostile:x',
      seq: 1,
      content: 'x',
      ...fields,
    });
    const badUsers = ['', 'a:b', '{a}', 'a}b', 'a b', 'a\r\nb', 'a\u0000', 'ä', '\ud800', 'x'.repeat(65), '*', 'a/b'];
    const badChannels = [
      ...badUsers,
      ...badUsers.map((user) => `dm:hostile:${user}`),
      ...badUsers.map((user) => `g:${user}`),
      'dm:z:a',
      'dm:hostile',
      'dm::',
      'dm:hostile:x:y',
      'x:hostile:y',
      'G:1',
      'inbox:{0.a}:hostile',
    ];
    const cases: [object, string][] = [
      ...badUsers.flatMap((to): [object, string][] => [
        [send({ to }), 'bad_request'],
        [{ type: 'watch', users: ['x', to] }, 'bad_request'],
        [{ type: 'unwatch', users: [to] }, 'bad_request'],
      ]),
      [{ type: 'watch', users: Array.from({ length: 501 }, (_, i) => `u${i}`) }, 'bad_request'],
      [{ type: 'unwatch', users: Array.from({ length: 501 }, (_, i) => `u${i}`) }, 'bad_request'],
      ...badChannels.flatMap((channel): [object, string][] => [
        [send({ channel, to: undefined }), 'bad_request'],
        [{ type: 'read', channel, seq: 1 }, 'bad_request'],
        [edit({ channel }), 'bad_request'],
        [edit({ channel, type: 'delete' }), 'bad_request'],
        [{ type: 'typing', channel, on: true }, 'bad_request'],
      ]),
      ...['', 'a b', 'a\r\nb', '\u007f', 'ä', 'x'.repeat(65)].flatMap((client_id) =>
        [send, edit].map((frame): [object, string] => [frame({ client_id }), 'bad_request']),
      ),
      [send({ channel: 'dm:hostile:x' }), 'bad_request'],
      [send({ to: undefined }), 'bad_request'],
      [send({ content: '' }), 'bad_request'],
      [send({ content: 'a\ud800b' }), 'bad_request'],
      [send({ content: '\udc00\ud800' }), 'bad_request'],
      [send({ content: 'x'.repeat(8193) }), 'too_large'],
      [send({ content: 'ä'.repeat(4097) }), 'too_large'],
      [send({ metadata: { a: 'x'.repeat(2048) } }), 'too_large'],
      [send({ metadata: { a: '\ud800' } }), 'bad_request'],
      [send({ metadata: { '\udfff': 'a' } }), 'bad_request'],
      [send({ ref: 'x'.repeat(65) }), 'bad_request'],
      [send({ ref: '\ud800' }), 'bad_request'],
      ...[0, -1, 2 ** 53, 1e300].flatMap((seq) =>
        [edit({ seq }), edit({ seq, type: 'delete' }), edit({ seq, type: 'read' })].map((frame): [object, string] => [
          frame,
          'bad_request',
        ]),
      ),
      [{ type: 'ping', n: 2 ** 53 }, 'bad_request'],
      [{ type: 'ping', n: -1e300 }, 'bad_request'],
      ...['', '0', '1-', '-1', '1-2-3', '01-0', '1-x', '18446744073709551616-0', `${'9'.repeat(400)}-0`, '$', '+'].map(
        (offset): [object, string] => [{ type: 'ack', offset }, 'bad_request'],
      ),
      [{ type: 'ack', offset: '18446744073709551615-18446744073709551615' }, 'bad_request'],
      [{ type: 'hello', device: 'phone' }, 'bad_request'],
      [{ type: 'hello', device: 'other', token: 5 }, 'bad_request'],
      [send({ channel: 'dm:a:b', to: undefined }), 'forbidden'],
      [send({ channel: 'g:nothing', to: undefined }), 'not_found'],
      [edit({ content: '' }), 'bad_request'],
      [edit({ content: '\ud800' }), 'bad_request'],
      [edit({ content: 'x'.repeat(8193) }), 'too_large'],
      ...['edit', 'delete', 'read', 'typing'].flatMap((type): [object, string][] => [
        [edit({ type, on: true, channel: 'dm:a:b' }), 'forbidden'],
        [edit({ type, on: true, channel: 'g:nothing' }), 'not_found'],
      ]),
      [edit({}), 'not_found'],
      [edit({ type: 'delete', seq: Number.MAX_SAFE_INTEGER }), 'not_found'],
    ];
    for (const [frame, code] of cases) {
      const text = JSON.stringify(frame);
      const error = await refused(session, text);
      expect([error.code, text]).toEqual([code, text]);
    }
    await session.ping('alive');
    await session.close();
  });

  it('what is odd but allowed comes back as it was sent', async () => {
    const session = await here.start('hostile');
    const reader = await here.start('reader', 1);
    const contents = ['\u0000', '\r\n', '{0.a}', '\ufeff\ufffe\uffff', '🜁'.repeat(2048), '"\\\u2028\u2029', ' '];
    for (const [i, content] of contents.entries()) {
      session.send({ type: 'send', client_id: `{odd}:${i}~"'`, to: 'reader', content, unknown: { deep: [[[]]] } });
      await reader.next('message', { seq: i + 1, content, client_id: `{odd}:${i}~"'` });
    }
    session.text(
      '{"type":"send","client_id":"p","to":"reader","content":"x","metadata":{"__proto__":"a","constructor":"b","":"c"}}',
    );
    const { metadata } = await reader.next('message', { client_id: 'p' });
    expect(JSON.stringify(metadata)).toBe('{"__proto__":"a","constructor":"b","":"c"}');
    session.text(
      `{"type":"ping","ref":"deep","__proto__":{"type":"hello"},"x":${'['.repeat(7000)}${']'.repeat(7000)}}`,
    );
    await session.next('pong', { ref: 'deep' });
    session.text('{"type":"ping","type":"ping","n":-0,"ref":"twice"}');
    await session.next('pong', { ref: 'twice' });
    expect(session.of('error')).toEqual([]);
    await Promise.all([session.close(), reader.close()]);
  });
});

describe('frames that end the session', () => {
  it('1003 a binary one, 1007 not UTF-8, 1009 over the limit; also as the first', async () => {
    const evil: [number, (session: RawSession) => void][] = [
      [1003, (s) => s.socket.send(Buffer.from('{"type":"ping"}'), { binary: true })],
      [1003, (s) => s.socket.send(Buffer.alloc(0), { binary: true })],
      [1007, (s) => s.text(Buffer.from([0x7b, 0xc3, 0x28, 0x7d]))],
      [1007, (s) => s.text(Buffer.from([0xed, 0xa0, 0x80]))],
      [1009, (s) => s.text(`{"type":"ping","x":"${'x'.repeat(16_384)}"}`)],
      [1009, (s) => s.socket.send(Buffer.alloc(100_000), { binary: true })],
    ];
    for (const [code, act] of evil) {
      const [first, later] = [await RawSession.open(here.stage.gateway(0)), await here.start('hostile')];
      for (const session of [first, later]) {
        act(session);
        expect(await endOf(session)).toBe(code);
      }
    }
  });

  it('4002 a first frame that is not hello, or a malformed one, after the error', async () => {
    const token = here.stage.deployment.token('hostile');
    const firsts: [string, string][] = [
      ['{"type":"ping"}', 'bad_request'],
      ['{"type":"send","client_id":"c","to":"x","content":"x"}', 'bad_request'],
      ['nonsense', 'bad_frame'],
      ['{"type":"hello"}', 'bad_frame'],
      [`{"type":"hello","token":"${token}","device":5}`, 'bad_frame'],
      [`{"type":"hello","token":"${token}","device":"phone","since":5}`, 'bad_frame'],
      [`{"type":"hello","token":"${token}","device":"a b"}`, 'bad_request'],
      [`{"type":"hello","token":"${token}","device":"phone","since":"0"}`, 'bad_request'],
    ];
    for (const [text, code] of firsts) {
      const session = await RawSession.open(here.stage.gateway(0));
      session.text(text);
      expect([text, await endOf(session)]).toEqual([text, 4002]);
      expect(session.frames.map((f) => [f.type, f.code])).toEqual([['error', code]]);
    }
  });

  it('4002 at the tenth bad frame within a minute', async () => {
    const session = await here.start('hostile');
    for (let i = 0; i < 10; i++) session.text('{');
    session.send({ type: 'ping' });
    expect(await endOf(session)).toBe(4002);
    expect(session.of('error')).toHaveLength(10);
    expect(session.of('pong')).toEqual([]);
  });
});
