import { describe, expect, it } from 'vitest';
import { newClient, startConnected, startServer } from './harness.ts';
import { MemoryStorage } from './index.ts';
import { until } from './scripted-server.ts';

const DM = 'dm:alice:bob';
const OTHER = 'dm:bob:carol';

describe('resume', () => {
  it('continues after a cut connection with what came meanwhile, each message once and in order', async () => {
    const { server, client, shown } = await startConnected();
    for (let i = 0; i < 5; i++) server.post(DM, 'alice', `a${i}`);
    await until('five shown and saved', () => shown.length === 5 && client.offset !== '1000-0');
    const saved = client.offset;
    server.cut();
    for (let i = 5; i < 10; i++) server.post(DM, 'alice', `a${i}`);
    await until('ten shown', () => shown.length === 10);
    expect(shown).toEqual(Array.from({ length: 10 }, (_, i) => `a${i}`));
    expect(server.sessions[1]?.hello.since).toBe(saved);
    expect(server.historyCalls).toEqual([]);
  });

  it('acks after the listeners, and never beyond what is still being handled', async () => {
    const server = await startServer();
    const { client } = newClient(server, { ackEvery: 1 });
    let finish = () => {};
    client.on('message', (message) =>
      message.content === 'slow' ? new Promise<void>((resolve) => (finish = resolve)) : undefined,
    );
    await client.connect();
    server.post(DM, 'alice', 'quick');
    await until('one ack', () => server.sent('ack').length === 1);
    server.post(DM, 'alice', 'slow');
    client.on('message', ({ content, seq }) => {
      if (content === 'after') client.read(DM, seq);
    });
    server.post(DM, 'alice', 'after');
    server.post(DM, 'alice', 'last');
    // Frames of a session come in order: an ack of what is behind the slow one would be there before the second read.
    await until('read', () => server.sent('read').length === 1);
    client.read(DM, 4);
    await until('read', () => server.sent('read').length === 2);
    expect(server.sent('ack')).toHaveLength(1);
    finish();
    await until('the rest acked', () => server.sent('ack').length === 2);
  });

  it('starts again from its storage and drops what it has shown when that comes again', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    const first = newClient(server, { storage });
    await first.client.connect();
    const one = server.post(DM, 'alice', 'one');
    await until('one shown', () => first.shown.length === 1);
    await first.client.close();
    server.post(DM, 'alice', 'two', { to: [] });
    server.deliver('bob', one);
    server.post(DM, 'alice', 'three');
    const second = newClient(server, { storage });
    await second.client.connect();
    await until('the rest shown', () => second.shown.length === 2);
    // Two never reached the inbox: the stored seq of the channel shows the hole.
    expect(second.shown).toEqual(['two', 'three']);
  });

  it('that ended in the middle of a hole does not show again what other channels have shown beside it', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    const first = newClient(server, { storage });
    await first.client.connect();
    server.post(DM, 'alice', 'one');
    await until('one shown', () => first.shown.length === 1);
    server.historyStatus = 503;
    server.post(DM, 'alice', 'two', { to: [] });
    server.post(DM, 'alice', 'three');
    server.post(OTHER, 'carol', 'beside');
    await first.client.send({ to: 'carol', content: 'own' });
    server.post(OTHER, 'carol', 'beside it too');
    await until('beside shown', () => first.shown.length === 3);
    await first.client.close();
    server.historyStatus = 200;
    const second = newClient(server, { storage });
    await second.client.connect();
    server.post(OTHER, 'carol', 'later');
    await until('the rest shown', () => second.shown.length >= 3 && second.shown.includes('later'));
    expect(second.shown.toSorted()).toEqual(['later', 'three', 'two']);
  });

  it('drops by id what comes again under a new offset, and shows another message under a used seq', async () => {
    const { server, shown } = await startConnected();
    const one = server.post(DM, 'alice', 'one');
    server.post(DM, 'alice', 'two');
    server.deliver('bob', one);
    server.deliver('bob', { ...one, id: '00000000-0000-1000-8000-ffffffffffff', content: 'other' });
    server.post(DM, 'alice', 'three');
    await until('all shown', () => shown.includes('three'));
    expect(shown).toEqual(['one', 'two', 'other', 'three']);
    expect(server.historyCalls).toEqual([]);
  });
});

describe('reconnecting', () => {
  it.each([4001, 4002, 4003])('does not after %i, and says why', async (code) => {
    const { server, client } = await startConnected();
    const closed: unknown[] = [];
    client.on('closed', (why) => {
      closed.push(why);
    });
    const hanging = client.messages();
    const next = hanging.next();
    next.catch(() => {});
    server.last.socket.close(code, 'because');
    await until('closed', () => closed.length === 1);
    expect(closed).toEqual([{ code, reason: 'because', byUser: false }]);
    expect(client.state).toBe('closed');
    await expect(next).rejects.toThrow('because');
    expect(server.sessions).toHaveLength(1);
  });

  it('rejects connect() when the first session is refused for good, with the error frame as the reason', async () => {
    const server = await startServer();
    server.refuse = (socket) => {
      socket.send(JSON.stringify({ type: 'error', code: 'unauthenticated', message: 'the token has expired' }));
      socket.close(4001);
    };
    const { client } = newClient(server);
    await expect(client.connect()).rejects.toThrow(/4001: unauthenticated: the token has expired/);
  });

  it('tells of a hello that the server could not answer for the moment as of a lost connection, and no error', async () => {
    const server = await startServer();
    server.refuse = (socket) => {
      server.refuse = undefined;
      socket.send(JSON.stringify({ type: 'error', code: 'unavailable', message: 'not now' }));
      socket.close(1012);
    };
    const { client, errors } = newClient(server);
    const reasons: string[] = [];
    client.on('disconnected', ({ reason }) => void reasons.push(reason));
    await client.connect();
    expect(reasons).toEqual(['unavailable: not now']);
    expect(errors).toEqual([]);
  });

  it('rejects connect({ retry: false }) when nobody is there', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    await server.stop();
    await expect(client.connect({ retry: false })).rejects.toMatchObject({ code: 'unavailable' });
    expect(client.state).toBe('closed');
  });

  it('waits with full jitter: drawn from a bound that doubles up to the cap', async () => {
    const server = await startServer();
    server.refuse = (socket) => socket.close(1011);
    const draws = [0.5, 1, 0.25, 1, 1, 1];
    const delays: number[] = [];
    const { client } = newClient(server, { reconnectBaseMs: 8, reconnectCapMs: 40, random: () => draws.shift() ?? 1 });
    client.on('disconnected', ({ retryInMs }) => {
      delays.push(retryInMs);
    });
    client.connect().catch(() => {});
    await until('six attempts', () => delays.length >= 6);
    expect(delays.slice(0, 6)).toEqual([4, 16, 8, 40, 40, 40]);
  });

  it('comes again after a goaway when it is told to, and finishes what is in flight before', async () => {
    const { server, client } = await startConnected();
    server.write(server.last, { type: 'goaway', reason: 'deploy', reconnect_in_ms: 50, grace_ms: 10_000 });
    await client.send({ to: 'alice', content: 'still here' });
    expect(server.sessions).toHaveLength(1);
    await until('a second session', () => server.sessions.length === 2);
    await client.send({ to: 'alice', content: 'here again' });
  });

  it('notices a connection that died silently', async () => {
    const server = await startServer();
    server.heartbeatMs = 20;
    server.intercept = (_session, frame) => frame.type === 'ping' && server.sessions.length === 1;
    const { client } = newClient(server, { pongTimeoutMs: 30 });
    await client.connect();
    await until('another session', () => server.sessions.length === 2);
    await until('heartbeats that are answered', () => server.last.frames.length > 3);
    expect(server.sessions).toHaveLength(2);
  });

  it('asks for a new token for each session, and refreshes a session whose token is about to expire', async () => {
    const server = await startServer();
    let made = 0;
    const claims = { sub: 'bob', exp: Math.floor(Date.now() / 1000) + 3 };
    const token = () => `x.${Buffer.from(JSON.stringify({ ...claims, n: ++made })).toString('base64url')}.x`;
    const { client } = newClient(server, { token });
    await client.connect();
    server.cut();
    await until('a second session', () => server.sessions.length === 2);
    expect(server.sessions[0]?.hello.token).not.toBe(server.sessions[1]?.hello.token);
    await until('a refresh', () => server.sent('refresh').length === 1);
  });
});
