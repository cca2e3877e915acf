/** Every misuse of the WebSocket that we could think of gets the answer of the protocol, and a neighbour notices nothing. */
import jsonwebtoken from 'jsonwebtoken';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { signToken } from '../../lib/auth/index.ts';
import type { JsonSchema } from '../../lib/protocol/acceptable.ts';
import { clientFrames } from '../../lib/protocol/frames.ts';
import { type Ended, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
let neighbour: RawSession;
let friend: RawSession;
let unheard: Promise<{ ended: Ended; afterMs: number }>;

beforeAll(async () => {
  stage = await Stage.set();
  neighbour = await RawSession.start(stage.deployment, stage.gateway(0), 'neighbour');
  friend = await RawSession.start(stage.deployment, stage.gateway(1), 'friend');
  // A first frame that never comes takes ten seconds to be missed; the other tests run meanwhile.
  const silent = await RawSession.open(stage.gateway(0));
  const since = performance.now();
  unheard = silent.ended.then((ended) => ({ ended, afterMs: performance.now() - since }));
});
afterAll(() => stage?.clear());

let count = 0;
afterEach(async () => {
  const client_id = `n${count++}`;
  friend.send({ type: 'send', client_id, to: 'neighbour', content: 'still there?' });
  const { id } = await friend.next('accepted', { client_id });
  await neighbour.next('message', { id, seq: count });
  await neighbour.ping(client_id);
  expect(neighbour.frames.filter((f) => f.type === 'error' || f.type === 'gap')).toEqual([]);
  expect(stage.complaints()).toEqual([]);
});

const start = (user: string, gateway = 0, device = 'phone') =>
  RawSession.start(stage.deployment, stage.gateway(gateway), user, { device });

/** Sends it and returns the error that answers. */
async function refused(session: RawSession, text: string) {
  const before = session.of('error').length;
  session.text(text);
  return await session.until(() => session.of('error')[before], `a refusal of ${text.slice(0, 100)}`);
}

async function endOf(session: RawSession): Promise<number> {
  return (await session.ended).code;
}

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
      const session = await start('hostile');
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
    const session = await start('hostile');
    const send = (fields: object) => ({ type: 'send', client_id: 'c', to: 'x', content: 'x', ...fields });
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
      ...badUsers.map((to): [object, string] => [send({ to }), 'bad_request']),
      ...badChannels.flatMap((channel): [object, string][] => [
        [send({ channel, to: undefined }), 'bad_request'],
        [{ type: 'read', channel, seq: 1 }, 'bad_request'],
      ]),
      ...['', 'a b', 'a\r\nb', '\u007f', 'ä', 'x'.repeat(65)].map((client_id): [object, string] => [
        send({ client_id }),
        'bad_request',
      ]),
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
      ...[0, -1, 2 ** 53, 1e300].map((seq): [object, string] => [
        { type: 'read', channel: 'dm:hostile:x', seq },
        'bad_request',
      ]),
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
    const session = await start('hostile');
    const reader = await start('reader', 1);
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
      const [first, later] = [await RawSession.open(stage.gateway(0)), await start('hostile')];
      for (const session of [first, later]) {
        act(session);
        expect(await endOf(session)).toBe(code);
      }
    }
  });

  it('4002 a first frame that is not hello, or a malformed one, after the error', async () => {
    const token = stage.deployment.token('hostile');
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
      const session = await RawSession.open(stage.gateway(0));
      session.text(text);
      expect([text, await endOf(session)]).toEqual([text, 4002]);
      expect(session.frames.map((f) => [f.type, f.code])).toEqual([['error', code]]);
    }
  });

  it('4002 at the tenth bad frame within a minute', async () => {
    const session = await start('hostile');
    for (let i = 0; i < 10; i++) session.text('{');
    session.send({ type: 'ping' });
    expect(await endOf(session)).toBe(4002);
    expect(session.of('error')).toHaveLength(10);
    expect(session.of('pong')).toEqual([]);
  });
});

describe('tokens', () => {
  const claims = (sub: string, ttlS = 3600) => ({ sub, exp: Math.floor(Date.now() / 1000) + ttlS });
  const bad = (): [string, string][] => [
    ['empty', ''],
    ['no token', 'abc'],
    ['dots', '..'],
    ['unsigned', jsonwebtoken.sign(claims('hostile'), '', { algorithm: 'none' })],
    ['foreign', signToken({ user: 'hostile', ttlS: 60 }, 'another secret, just as long as the right one')],
    ['expired', expired()],
    ['signature cut off', stage.deployment.token('hostile').replace(/\.[^.]*$/, '.')],
    ['other claims under a good signature', swapped()],
    ['long', 'x'.repeat(9000)],
  ];
  const secret = 'a secret for tests only, thirty-two bytes and more';
  const expired = () => jsonwebtoken.sign(claims('hostile', -1), secret);
  function swapped(): string {
    const [head, , signature] = stage.deployment.token('hostile').split('.');
    return [head, Buffer.from(JSON.stringify(claims('victim'))).toString('base64url'), signature].join('.');
  }

  it('in hello: unauthenticated, then 4001', async () => {
    const hellos: unknown[] = bad().map(([, token]) => ({ type: 'hello', device: 'phone', token }));
    for (const token of [null, 5, {}, [], '\ud800', undefined]) hellos.push({ type: 'hello', device: 'phone', token });
    for (const hello of hellos) {
      const session = await RawSession.open(stage.gateway(0));
      session.send(hello);
      expect([hello, await endOf(session)]).toEqual([hello, 4001]);
      expect(session.frames).toMatchObject([{ type: 'error', code: 'unauthenticated' }]);
    }
  });

  it('in the upgrade: 401 with the error, no upgrade', async () => {
    const url = stage.gateway(0).webSocketUrl;
    for (const [name, token] of bad()) {
      const error = await RawSession.open(url, { authorization: `Bearer ${token}` }).catch((e: unknown) => String(e));
      expect([name, error]).toEqual([name, 'Error: Unexpected server response: 401']);
    }
    const authorization = `Basic ${stage.deployment.token('hostile')}`;
    await expect(RawSession.open(url, { authorization })).rejects.toThrow('401');
    const plain = await fetch(`${stage.gateway(0).address}/v1/conversations`, {
      headers: { authorization: `Bearer ${expired()}` },
    });
    expect([plain.status, await plain.json()]).toMatchObject([401, { error: { code: 'unauthenticated' } }]);
  });

  it('in both, of one user: welcome; of different users: 4001', async () => {
    const authorization = `Bearer ${stage.deployment.token('hostile')}`;
    const good = await RawSession.open(stage.gateway(0), { authorization });
    good.hello(stage.deployment.token('hostile'));
    await good.next('welcome', { user: 'hostile' });
    await good.close();
    const header = await RawSession.open(stage.gateway(0), { authorization });
    header.send({ type: 'hello', device: 'phone' });
    await header.next('welcome', { user: 'hostile' });
    await header.close();
    const different = await RawSession.open(stage.gateway(0), { authorization });
    different.hello(stage.deployment.token('victim'));
    expect(await endOf(different)).toBe(4001);
    expect(different.frames).toMatchObject([{ type: 'error', code: 'unauthenticated' }]);
  });

  it('acting for another user without admin: forbidden, then 4001', async () => {
    const session = await RawSession.open(stage.gateway(0));
    session.send({ type: 'hello', device: 'phone', token: stage.deployment.token('hostile'), user: 'victim' });
    expect(await endOf(session)).toBe(4001);
    expect(session.frames).toMatchObject([{ type: 'error', code: 'forbidden' }]);
  });

  it('refresh: wrongly typed is bad_frame, bad or another user’s is 4001, a newer one holds', async () => {
    const session = await start('hostile');
    expect(await refused(session, '{"type":"refresh","token":5}')).toMatchObject({ code: 'bad_frame' });
    session.send({ type: 'refresh', token: stage.deployment.token('hostile'), ref: 'good' });
    await session.next('refreshed', { ref: 'good' });
    session.send({ type: 'refresh', token: stage.deployment.token('victim') });
    expect(await endOf(session)).toBe(4001);
    const other = await start('hostile');
    other.send({ type: 'refresh', token: expired() });
    expect(await endOf(other)).toBe(4001);
  });

  it('a session ends within five seconds of its token', async () => {
    const session = await RawSession.open(stage.gateway(0));
    session.hello(jsonwebtoken.sign(claims('shortlived', 2), secret));
    await session.next('live');
    const since = performance.now();
    expect(await endOf(session)).toBe(4001);
    expect(performance.now() - since).toBeLessThan(7_000);
  });
});

describe('sessions', () => {
  it('frames between hello and welcome are answered after it, in order', async () => {
    const session = await RawSession.open(stage.gateway(0));
    session.hello(stage.deployment.token('eager'));
    for (let i = 0; i < 50; i++) {
      session.send({ type: 'send', client_id: `e${i}`, to: 'reader', content: `${i}` });
      session.send({ type: 'ping', n: i });
    }
    await session.until(() => session.of('accepted').length === 50 && session.of('pong').length === 50, 'all answers');
    expect(session.frames[0]?.type).toBe('welcome');
    expect(session.of('pong').map((f) => f.n)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    const seqs = session.of('accepted').sort((a, b) => Number(a.seq) - Number(b.seq));
    expect(seqs.map((f) => f.client_id)).toEqual(Array.from({ length: 50 }, (_, i) => `e${i}`));
    await session.close();
  });

  it('4003 for the one before when the same device connects again, on the same gateway and on another', async () => {
    for (const gateway of [0, 1]) {
      const before = await start('twice', 0);
      const after = await start('twice', gateway);
      expect(await endOf(before)).toBe(4003);
      friend.send({ type: 'send', client_id: `t${gateway}`, to: 'twice', content: 'to the present one' });
      await after.next('message', { client_id: `t${gateway}` });
      await after.close();
    }
  });

  it('4009 for the ninth at once; when one ends there is room again', async () => {
    const eight = await Promise.all(Array.from({ length: 8 }, (_, i) => start('many', i, `device-${i}`)));
    const ninth = await RawSession.open(stage.gateway(0));
    ninth.hello(stage.deployment.token('many'), 'device-8');
    expect(await endOf(ninth)).toBe(4009);
    expect(ninth.of('welcome')).toEqual([]);
    for (const [i, session] of eight.entries()) await session.ping(`p${i}`);
    await eight.pop()!.close();
    await roomFor('many', 'device-8');
    await Promise.all(eight.map((session) => session.close()));
  });

  it('4002 when no first frame comes within ten seconds', async () => {
    const { ended, afterMs } = await unheard;
    expect(ended.code).toBe(4002);
    expect(afterMs).toBeGreaterThan(9_500);
    expect(afterMs).toBeLessThan(15_000);
  });
});

/** The session that ended is taken out right after its close, which the client sees first. */
async function roomFor(user: string, device: string): Promise<void> {
  for (const deadline = performance.now() + 5_000; ; ) {
    const session = await RawSession.open(stage.gateway(1));
    session.hello(stage.deployment.token(user), device);
    const up = await session.next('welcome').catch(() => undefined);
    if (up) return await session.close();
    if (performance.now() > deadline) throw new Error(`no room for ${device}: ${await endOf(session)}`);
  }
}
