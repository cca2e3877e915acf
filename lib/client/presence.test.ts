import { describe, expect, it } from 'vitest';
import { newClient, startServer } from './harness.ts';
import type { PresenceEvent } from './index.ts';
import { until } from './scripted-server.ts';

/** A connected client, and what it was told of others. */
async function connected() {
  const server = await startServer();
  const { client, errors } = newClient(server);
  const told: PresenceEvent[] = [];
  client.on('presence', (event) => void told.push(event));
  await client.connect();
  return { server, client, errors, told };
}

const names = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `user-${from + i}`.padEnd(64, 'x'));

describe('presence', () => {
  it('of a watched user is told at once and with each change, and is known until unwatched', async () => {
    const { server, client, told } = await connected();
    server.online.set('alice', 1_700_000_000_000);
    client.watch(['alice', 'carol', 'alice']);
    await until('both told', () => told.length === 2);
    expect(told).toEqual([
      { user: 'alice', status: 'online', lastSeen: 1_700_000_000_000 },
      { user: 'carol', status: 'offline', lastSeen: null },
    ]);
    server.write(server.last, { type: 'presence', user: 'alice', status: 'offline', last_seen: 1_700_000_000_500 });
    server.write(server.last, { type: 'presence', user: 'alice', status: 'offline', last_seen: 1_700_000_000_500 });
    await until('told of the change', () => told.length === 3);
    expect(client.presence('alice')).toEqual({ status: 'offline', lastSeen: 1_700_000_000_500 });
    client.watch(['alice']);
    client.unwatch(['alice', 'nobody']);
    await until('unwatched', () => server.sent('unwatch').length === 1);
    expect(server.sent('unwatch')[0]?.users).toEqual(['alice']);
    // What was under way when it was unwatched.
    server.write(server.last, { type: 'presence', user: 'alice', status: 'online', last_seen: 1 });
    client.watch(['dave']);
    await until('dave told', () => told.length === 4);
    expect(client.presence('alice')).toBeUndefined();
    expect(server.sent('watch').map(({ users }) => users)).toEqual([['alice', 'carol'], ['dave']]);
  });

  it('is watched again after a reconnect; what was known stays until the answers replace it', async () => {
    const { server, client, told } = await connected();
    server.online.set('alice', 1);
    client.watch(['alice', 'carol', 'dave']);
    await until('told', () => told.length === 3);
    client.unwatch(['dave']);
    server.online.delete('alice');
    const seen: unknown[] = [];
    client.on('disconnected', () => void seen.push(client.presence('alice')));
    client.on('connected', () => void seen.push(client.presence('alice')));
    server.cut();
    await until('told of what changed meanwhile', () => told.length === 4);
    expect(seen).toEqual([
      { status: 'online', lastSeen: 1 },
      { status: 'online', lastSeen: 1 },
    ]);
    expect(told.at(-1)).toEqual({ user: 'alice', status: 'offline', lastSeen: null });
    expect(server.last.frames.filter(({ type }) => type === 'watch')).toMatchObject([{ users: ['alice', 'carol'] }]);
  });

  it('may be asked for before the first session', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    client.watch(['alice']);
    await client.connect();
    await until('answered', () => client.presence('alice') !== undefined);
  });

  it('of very many is asked in frames well below the limit; more than the server allows are refused whole', async () => {
    const { server, client, told } = await connected();
    client.watch(names(500));
    await until('all told', () => told.length === 500);
    expect(() => client.watch([...names(1), ...names(1, 500)])).toThrow(
      expect.objectContaining({ code: 'bad_request', message: expect.stringContaining('500') }),
    );
    expect(() => client.watch(['not a user'])).toThrow(expect.objectContaining({ code: 'bad_request' }));
    server.cut();
    await until('asked again', () => server.sessions.length === 2 && server.last.frames.length >= 5);
    for (const frame of server.sent('watch')) expect(JSON.stringify(frame).length).toBeLessThan(8_000);
    expect(server.sent('watch').flatMap(({ users }) => users)).toEqual([...names(500), ...names(500)]);
    client.unwatch(names(1));
    client.watch(names(1, 500));
  });

  it('is asked for again when the server cannot say now, and a refusal for good is an error', async () => {
    const { server, client, errors, told } = await connected();
    let refusals = 0;
    server.intercept = (session, frame) => {
      if (frame.type !== 'watch' || refusals++ > 1) return false;
      const ref = frame.ref!;
      server.write(session, { type: 'error', code: 'unavailable', message: 'not now', ref, retry_after_ms: 1 });
      return true;
    };
    client.watch(['alice']);
    await until('told', () => told.length === 1);
    expect(refusals).toBe(3);
    expect(errors).toEqual([]);
    server.intercept = (session, frame) => {
      server.write(session, { type: 'error', code: 'bad_request', message: 'too many', ref: frame.ref! });
      return true;
    };
    client.watch(['carol']);
    await until('told as an error', () => errors.length === 1);
    expect(errors[0]).toMatchObject({ code: 'bad_request' });
  });
});
