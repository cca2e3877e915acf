import { describe, expect, test } from 'vitest';
import type { Checker, JsonSchema } from './acceptable.ts';
import { compileChecker } from './acceptable.ts';
import { type ClientFrameType, clientFrames } from './frames.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import { parseClientFrame } from './parse.ts';

const valid: Record<ClientFrameType, Record<string, unknown>> = {
  hello: { type: 'hello', token: 'a.b.c', device: 'phone', since: '17-0', user: 'alice', ref: '1' },
  send: { type: 'send', client_id: 'c1', channel: 'dm:alice:bob', content: 'hi', metadata: { k: 'v' }, ref: '1' },
  ack: { type: 'ack', offset: '1763966400000-3', ref: '1' },
  read: { type: 'read', channel: 'g:abc', seq: 7, ref: '1' },
  edit: { type: 'edit', client_id: 'c2', channel: 'g:abc', seq: 7, content: 'ho', ref: '1' },
  delete: { type: 'delete', client_id: 'c3', channel: 'g:abc', seq: 7, ref: '1' },
  typing: { type: 'typing', channel: 'g:abc', on: true, ref: '1' },
  watch: { type: 'watch', users: ['alice', 'bob'], ref: '1' },
  unwatch: { type: 'unwatch', users: [], ref: '1' },
  refresh: { type: 'refresh', token: 'a.b.c', ref: '1' },
  ping: { type: 'ping', n: 5, ref: '1' },
};

const parse = (value: unknown) =>
  parseClientFrame(typeof value === 'string' ? value : JSON.stringify(value), DEFAULT_LIMITS);
const codeOf = (value: unknown) => parse(value).error?.code ?? 'ok';
const send = (fields: Record<string, unknown>) => {
  const { channel, ...rest } = valid.send;
  return 'to' in fields || 'channel' in fields ? { ...rest, ...fields } : { ...rest, channel, ...fields };
};

describe.each(Object.entries(valid))('%s', (type, frame) => {
  test('valid', () => {
    expect(parse(frame).frame).toEqual(frame);
  });

  test('each field of another type is bad_frame', () => {
    for (const field of Object.keys(frame)) {
      // A wrongly typed token in a hello is a failed authentication, not a malformed frame.
      if (type === 'hello' && field === 'token') continue;
      for (const wrong of [null, typeof frame[field] === 'string' ? 5 : 'x', [5], { x: 5 }, 1.5]) {
        expect(parse({ ...frame, [field]: wrong }).error?.code, `${field}: ${JSON.stringify(wrong)}`).toBe('bad_frame');
      }
    }
  });

  test('each required field missing is bad_frame', () => {
    const required = (clientFrames[type as ClientFrameType] as JsonSchema).required ?? [];
    for (const field of required) {
      const { [field]: _, ...rest } = frame;
      expect(codeOf(rest), field).toBe('bad_frame');
    }
  });

  test('unknown fields are ignored, whatever they are', () => {
    const deep = `${'['.repeat(3000)}${']'.repeat(3000)}`;
    const text = `${JSON.stringify(frame).slice(0, -1)},"zzz":null,"metadata2":5,"__proto__":{"channel":5},"constructor":1,"deep":${deep}}`;
    expect(parse(text).error).toBeUndefined();
    expect(
      parse({ content: '', title: 5, cursor: 1, users2: [5], push_token: '', ...frame }).error?.code,
    ).toBeUndefined();
  });

  test('ref and client_id are echoed in an error only when acceptable themselves', () => {
    const broken = { ...frame, ref: 'r', client_id: 'ok', [Object.keys(frame)[1]!]: { a: [] } };
    if (type !== 'hello') expect(parse(broken).error?.ref).toBe('r');
    for (const ref of [5, 'x'.repeat(65), '\ud800']) {
      const error = parse({ ...frame, ref }).error;
      expect(error?.code).toBe(typeof ref === 'string' ? 'bad_request' : 'bad_frame');
      expect(error).not.toHaveProperty('ref');
    }
    expect(parse({ ...frame, ref: '😀'.repeat(64) }).error).toBeUndefined();
    expect(parse({ ...frame, ref: 5, client_id: 'a b' }).error).not.toHaveProperty('client_id');
    expect(parse({ ...frame, ref: 5, client_id: 'ab' }).error?.client_id).toBe('ab');
  });
});

test('what is no JSON object or of no known type is bad_frame', () => {
  const texts = ['', ' ', '{', 'null', '5', '"send"', '[]', '[{"type":"ping"}]', '{}', '\ufeff{"type":"ping"}'];
  for (const text of texts) expect(codeOf(text), text).toBe('bad_frame');
  for (const type of ['', 'SEND', 'constructor', '__proto__', 'toString', 5, null, ['ping'], { a: 1 }]) {
    expect(codeOf({ type }), JSON.stringify(type)).toBe('bad_frame');
  }
  expect(codeOf('['.repeat(16_000))).toBe('bad_frame');
  expect(codeOf(`${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}`)).toBe('bad_frame');
});

test('a type that only the prototype has is missing', () => {
  expect(codeOf('{"__proto__":{"type":"ping"}}')).toBe('bad_frame');
  expect(codeOf('{"type":"ack","__proto__":{"offset":"1-0"}}')).toBe('bad_frame');
});

test('send: exactly one of channel and to', () => {
  expect(codeOf(send({ to: 'bob' }))).toBe('ok');
  expect(codeOf(send({ to: 'bob', channel: 'dm:alice:bob' }))).toBe('bad_request');
  expect(codeOf({ type: 'send', client_id: 'c', content: 'x' })).toBe('bad_request');
});

test('malformed ids are bad_request', () => {
  const channels = [
    '',
    'dm:bob:alice',
    'dm:a',
    'dm:a:b:c',
    'dm::b',
    'g:',
    'g:a b',
    'g:{17}',
    'g:a\r\n',
    'x:a',
    'dm:A:\n',
  ];
  for (const channel of [...channels, `g:${'a'.repeat(65)}`, '__proto__']) {
    expect(codeOf(send({ channel })), channel).toBe('bad_request');
    expect(codeOf({ ...valid.read, channel }), channel).toBe('bad_request');
    expect(codeOf({ ...valid.typing, channel }), channel).toBe('bad_request');
  }
  expect(codeOf(send({ channel: 'dm:a:a' }))).toBe('ok');
  expect(codeOf(send({ channel: 'dm:B:a' }))).toBe('ok');
  expect(codeOf(send({ channel: 'dm:a:B' }))).toBe('bad_request');
  for (const user of ['', 'a:b', 'a\r\n', 'é', '{a}', 'a'.repeat(65), 'a\n']) {
    expect(codeOf(send({ to: user })), user).toBe('bad_request');
    expect(codeOf({ ...valid.hello, user }), user).toBe('bad_request');
    expect(codeOf({ ...valid.hello, device: user }), user).toBe('bad_request');
    expect(codeOf({ ...valid.watch, users: ['ok', user] }), user).toBe('bad_request');
  }
  for (const id of ['', 'a b', 'é', 'a\n', 'x'.repeat(65), '\u007f']) {
    expect(codeOf(send({ client_id: id })), id).toBe('bad_request');
    expect(codeOf({ ...valid.edit, client_id: id }), id).toBe('bad_request');
  }
  for (const offset of [
    '',
    '1',
    '-1',
    '1-',
    '$',
    '+',
    '01-0',
    '1-0\n',
    '18446744073709551616-0',
    '0-99999999999999999999',
  ]) {
    expect(codeOf({ ...valid.ack, offset }), offset).toBe('bad_request');
    expect(codeOf({ ...valid.hello, since: offset }), offset).toBe('bad_request');
  }
  expect(codeOf({ ...valid.ack, offset: '18446744073709551615-18446744073709551615' })).toBe('ok');
});

test('numbers: a seq is a positive safe integer, other integers are bad_request, the rest bad_frame', () => {
  for (const seq of ['0', '-1', '9007199254740992', '1e300']) {
    expect(codeOf(`{"type":"read","channel":"g:a","seq":${seq}}`), seq).toBe('bad_request');
  }
  for (const seq of ['1.5', '1e400', '"1"', 'true', 'null']) {
    expect(codeOf(`{"type":"read","channel":"g:a","seq":${seq}}`), seq).toBe('bad_frame');
  }
  expect(codeOf('{"type":"ping","n":-3}')).toBe('ok');
  expect(codeOf('{"type":"ping","n":1e300}')).toBe('bad_request');
});

test('content: 1 byte to 8 KiB of UTF-8, nothing but scalar values', () => {
  for (const content of ['x', '\0', ' ', '\r\n', '😀', 'x'.repeat(8192), 'é'.repeat(4096), '😀'.repeat(2048)]) {
    expect(codeOf(send({ content }))).toBe('ok');
    expect(codeOf({ ...valid.edit, content })).toBe('ok');
  }
  for (const content of ['x'.repeat(8193), 'é'.repeat(4097), `${'😀'.repeat(2048)}x`, '€'.repeat(2731)]) {
    expect(codeOf(send({ content }))).toBe('too_large');
    expect(codeOf({ ...valid.edit, content })).toBe('too_large');
  }
  for (const content of ['', '\ud83d', 'a\udc00b', '\udc00\ud83d']) {
    expect(codeOf(send({ content }))).toBe('bad_request');
    expect(codeOf({ ...valid.edit, content })).toBe('bad_request');
  }
});

test('metadata: a flat object of strings, at most 2 KiB of compact JSON', () => {
  expect(codeOf(send({ metadata: {} }))).toBe('ok');
  expect(codeOf(send({ metadata: { k: 'x'.repeat(2040) } }))).toBe('ok');
  expect(codeOf(send({ metadata: { k: 'x'.repeat(2041) } }))).toBe('too_large');
  expect(codeOf(send({ metadata: { k: '\ud800' } }))).toBe('bad_request');
  expect(codeOf(send({ metadata: { '\ud800': 'x' } }))).toBe('bad_request');
  for (const metadata of [{ k: 5 }, { 'a\nb': 5 }, { k: { l: 'x' } }, { k: null }, ['x'], 'x']) {
    expect(codeOf(send({ metadata })), JSON.stringify(metadata)).toBe('bad_frame');
  }
  const tricky =
    '{"type":"send","client_id":"c","to":"bob","content":"x","metadata":{ "__proto__" : "p", "toString":"t"}}';
  expect(parse(tricky).metadataJson).toBe('{"__proto__":"p","toString":"t"}');
  expect(codeOf(tricky.replace('"p"', '{}'))).toBe('bad_frame');
});

test('the limits are those given', () => {
  const limits = { ...DEFAULT_LIMITS, content_bytes: 3, metadata_bytes: 9, watched: 1 };
  const code = (value: unknown) => parseClientFrame(JSON.stringify(value), limits).error?.code;
  expect(code(send({ content: 'four', metadata: undefined }))).toBe('too_large');
  expect(code(send({ metadata: { kk: 'v' } }))).toBe('too_large');
  expect(code(valid.watch)).toBe('bad_request');
});

test('hello: a wrongly typed token is one that no verifier takes', () => {
  for (const token of [5, null, {}, ['a'], '\ud800']) {
    expect(parse({ ...valid.hello, token }).frame).toMatchObject({ type: 'hello', token: '', device: 'phone' });
  }
  expect(parse({ type: 'hello', device: 'd' }).frame).toEqual({ type: 'hello', device: 'd' });
  expect(codeOf({ type: 'refresh', token: 5 })).toBe('bad_frame');
});

test('errors do not repeat what was sent', () => {
  for (const frame of [
    send({ content: 5, secret: 'SECRET' }),
    send({ metadata: { SECRET: 5 } }),
    '{"SECRET',
    { type: 'SECRET' },
  ]) {
    expect(JSON.stringify(parse(frame))).not.toContain('SECRET');
  }
});

/** A fixed stream of numbers in [0, 1), so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

test('10,000 mutations: never a throw, and hand-written and compiled checks agree', () => {
  const next = random(1);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const values = [
    null,
    true,
    0,
    -1,
    1.5,
    1e300,
    '',
    'a',
    'g:a',
    'dm:b:a',
    'dm:a:b',
    '1-0',
    '\ud800',
    'x'.repeat(9000),
    [],
    [5],
    ['a'],
    {},
    { a: 'b' },
    { a: 5 },
  ];
  const whole = new Map<string, Checker>();
  for (const [name, schema] of Object.entries(clientFrames)) whole.set(name, compileChecker(schema as JsonSchema));
  for (let i = 0; i < 10_000; i++) {
    const type = pick(['send', 'ack', ...Object.keys(valid)] as ClientFrameType[]);
    const frame: Record<string, unknown> = { ...valid[type] };
    for (let n = 1 + Math.floor(next() * 3); n > 0; n--) {
      const field = pick([...Object.keys(frame), 'to', 'channel', 'metadata', 'users']);
      if (next() < 0.2) delete frame[field];
      else frame[field] = pick(values);
    }
    let text = JSON.stringify(frame);
    if (next() < 0.1) text = text.slice(0, Math.floor(next() * text.length));
    const result = parse(text);
    if (result.error !== undefined || result.frame.type === 'hello') continue;
    const checker = whole.get(result.frame.type)!;
    const value = JSON.parse(text);
    expect(checker.wrongType(value) ?? checker.notAcceptable(value, DEFAULT_LIMITS), text).toBeUndefined();
  }
});
