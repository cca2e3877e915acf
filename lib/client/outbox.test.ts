import { describe, expect, it, vi } from 'vitest';
import { newClient, startConnected, startServer } from './harness.ts';
import { MemoryStorage } from './index.ts';
import { Outbox } from './outbox.ts';
import { until } from './scripted-server.ts';

const DM = 'dm:alice:bob';

describe('sending', () => {
  it('resolves with the place in the channel', async () => {
    const server = await startServer();
    const { client, shown } = newClient(server);
    const early = client.send({ to: 'alice', content: 'before connect' });
    await client.connect();
    expect(await early).toMatchObject({ channel: DM, seq: 1, duplicate: false });
    expect(await client.send({ channel: DM, content: 'two', metadata: { a: 'b' } })).toMatchObject({ seq: 2 });
    expect(server.sent('send')[1]).toMatchObject({ metadata: { a: 'b' } });
    expect(shown).toEqual([]);
  });

  it('sends again what was not accepted, under the same client_id and in order', async () => {
    const { server, client } = await startConnected();
    // Stored, but the answer is lost with the connection.
    server.intercept = (session, frame) => {
      if (frame.type !== 'send' || server.sessions.length > 1) return false;
      server.store(session.user, frame);
      server.cut();
      return true;
    };
    const sends = ['a', 'b', 'c', 'd'].map((content) => client.send({ to: 'alice', content }));
    const accepted = await Promise.all(sends);
    expect(accepted.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(accepted.map(({ duplicate }) => duplicate)).toEqual([true, false, false, false]);
    const ids = server.sent('send').map(({ client_id }) => client_id);
    expect(ids).toHaveLength(5);
    expect(ids[0]).toBe(ids[1]);
  });

  it('waits and tries again when the refusal passes, without letting later ones of the channel overtake', async () => {
    const { server, client } = await startConnected();
    let refusals = 0;
    server.intercept = (session, frame) => {
      if (frame.type !== 'send' || frame.content !== 'a' || refusals++ >= 2) return false;
      const { client_id } = frame;
      server.write(session, {
        type: 'error',
        code: 'rate_limited',
        message: 'slow down',
        client_id,
        retry_after_ms: 30,
      });
      return true;
    };
    const order: string[] = [];
    const note = (name: string) => () => order.push(name);
    await Promise.all([
      client.send({ to: 'alice', content: 'a' }).then(note('a')),
      client.send({ to: 'alice', content: 'b' }).then(note('b')),
      client.send({ to: 'carol', content: 'other channel' }).then(note('other')),
    ]);
    expect(order).toEqual(['other', 'a', 'b']);
  });

  it.each([
    ['unavailable', 16],
    ['rate_limited', 0],
  ] as const)(
    'tries again at a steady pace while the server’s store is away for some seconds: %s',
    async (code, steady) => {
      const due: number[] = [];
      const waits = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((go: () => void, ms: number) => {
        due.push(ms);
        queueMicrotask(go);
      }) as unknown as typeof setTimeout);
      const outbox: Outbox = new Outbox({
        ...{ storage: new MemoryStorage(), now: () => 0, random: () => 1, limit: 10 },
        ...{ find: async () => undefined, failed: () => undefined },
        write: ({ client_id }) => {
          const refusal = { type: 'error', code, message: 'not now', client_id, retry_after_ms: 250 } as const;
          if (due.length < 20) queueMicrotask(() => outbox.refused(refusal));
          else
            queueMicrotask(() => outbox.accepted({ client_id, channel: DM, seq: 1, id: 'x', ts: 0, duplicate: false }));
          return true;
        },
      });
      outbox.live('bob');
      await outbox.send({ type: 'send', channel: DM, content: 'a', client_id: 'a' });
      waits.mockRestore();
      expect(due.slice(0, steady)).toEqual(Array.from({ length: steady }, () => 450));
      expect(due.slice(steady + 1, steady + 3)).toEqual([650, 1050]);
    },
  );

  it('of which the answer took so long that it was sent twice: once one is accepted, the refusal of the other is no error', async () => {
    const server = await startServer();
    server.heartbeatMs = 20;
    let passedMs = 0;
    const { client, errors } = newClient(server, { now: () => Date.now() + passedMs });
    await client.connect();
    const held: (() => void)[] = [];
    server.intercept = (session, frame) => {
      if (frame.type !== 'send' || frame.content !== 'slow') return false;
      const { client_id } = frame;
      const refusal = { type: 'error', code: 'unavailable', message: 'not now', client_id } as const;
      const first = held.length === 0;
      held.push(() => server.write(session, first ? server.store(session.user, frame) : refusal));
      return true;
    };
    const slow = client.send({ to: 'alice', content: 'slow' });
    await until('sent', () => held.length === 1);
    passedMs = 30_000;
    await until('sent again', () => held.length === 2);
    for (const answer of held) answer();
    expect(await slow).toMatchObject({ seq: 1 });
    await client.send({ to: 'alice', content: 'next' });
    expect(errors).toEqual([]);
  });

  it('rejects the one that is refused for good; the next goes on', async () => {
    const { server, client } = await startConnected();
    server.intercept = (session, frame) => {
      if (frame.type !== 'send' || frame.content !== 'bad') return false;
      server.write(session, { type: 'error', code: 'forbidden', message: 'blocked', client_id: frame.client_id });
      return true;
    };
    const bad = client.send({ to: 'alice', content: 'bad' });
    const good = client.send({ to: 'alice', content: 'good' });
    await expect(bad).rejects.toMatchObject({ code: 'forbidden', message: 'blocked' });
    expect(await good).toMatchObject({ seq: 1 });
    await expect(client.send({ to: 'alice', content: '' })).rejects.toMatchObject({ code: 'bad_request' });
    await expect(client.send({ to: 'alice', content: 'x'.repeat(9_000) })).rejects.toMatchObject({ code: 'too_large' });
  });

  it('keeps what was not accepted in its storage for the next start', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    server.intercept = (_session, frame) => frame.type === 'send';
    const first = newClient(server, { storage });
    await first.client.connect();
    const lost = first.client.send({ to: 'alice', content: 'persistent' });
    lost.catch(() => {});
    await until('it was sent', () => server.sent('send').length === 1);
    await first.client.close({ timeoutMs: 20 });
    await expect(lost).rejects.toMatchObject({ code: 'unavailable' });
    server.intercept = () => false;
    const second = newClient(server, { storage });
    await second.client.connect();
    await until('accepted', () => second.client.pending === 0);
    const [before, again] = server.sent('send');
    expect(again?.client_id).toBe(before?.client_id);
    expect(storage.load().outbox).toEqual([]);
  });

  it('looks up in history what is older than an hour before it sends it again', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    const at = Date.now() - 2 * 3_600_000;
    const frame = (client_id: string) => ({ type: 'send' as const, client_id, channel: DM, content: client_id });
    storage.putSend({ at, frame: frame('arrived') });
    storage.putSend({ at, frame: frame('never') });
    server.post(DM, 'bob', 'arrived', { client_id: 'arrived', ts: at + 10 });
    const { client, errors } = newClient(server, { storage });
    await client.connect();
    await until('both settled', () => client.pending === 0);
    expect(server.sent('send').map(({ client_id }) => client_id)).toEqual(['never']);
    expect(errors).toEqual([]);
  });

  it('close() waits for what was sent and acks what was shown', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    const { client, shown } = newClient(server, { ackDelayMs: 60_000, storage });
    await client.connect();
    server.post(DM, 'alice', 'one');
    await until('shown', () => shown.length === 1);
    const sends = ['a', 'b', 'c'].map((content) => client.send({ to: 'alice', content }));
    await client.close();
    expect((await Promise.all(sends)).map(({ seq }) => seq)).toEqual([2, 3, 4]);
    await until('the ack', () => server.sent('ack').length === 1);
    expect(storage.load().offset).toBe(server.sent('ack')[0]?.offset);
    await expect(client.send({ to: 'alice', content: 'late' })).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('repeats the latest read of a channel in the next session', async () => {
    const { server, client } = await startConnected();
    client.read(DM, 3);
    client.read(DM, 2);
    client.read(DM, 5);
    await until('both', () => server.sent('read').length === 2);
    server.cut();
    await until('a second session', () => server.sessions.length === 2 && server.last.frames.length > 0);
    expect(server.last.frames).toMatchObject([{ type: 'read', channel: DM, seq: 5 }]);
    expect(server.last.frames).toHaveLength(1);
  });

  it('repeats a read that the server could not take for the moment, and tells of one that it refuses for good', async () => {
    const { server, client, errors } = await startConnected();
    const read: [channel: string, seq: number][] = [];
    server.intercept = (session, frame) => {
      if (frame.type !== 'read') return false;
      read.push([frame.channel, frame.seq]);
      const code = frame.channel === DM ? 'unavailable' : 'not_found';
      if (read.length > 4) return true;
      server.write(session, { type: 'error', code, message: 'no', ref: frame.ref!, retry_after_ms: 1 });
      return true;
    };
    client.read(DM, 3);
    // The refusal of the first, which is overtaken, repeats nothing.
    client.read(DM, 5);
    await until('repeated until it is taken', () => read.length === 5);
    expect(read.slice(1)).toEqual(Array.from({ length: 4 }, () => [DM, 5]));
    expect(errors).toEqual([]);
    read.length = 0;
    client.read('g:not-mine', 1);
    await until('told as an error', () => errors.length === 1);
    expect(errors[0]).toMatchObject({ code: 'not_found' });
    expect(read).toEqual([['g:not-mine', 1]]);
  });
});
