import { describe, expect, it } from 'vitest';
import { newClient, startConnected, startServer } from './harness.ts';
import { MemoryStorage } from './index.ts';
import { until } from './scripted-server.ts';

const DM = 'dm:alice:bob';
const OTHER = 'dm:bob:carol';

describe('a hole in a channel', () => {
  it('is filled from history before anything later of the channel is shown; other channels go on', async () => {
    const { server, shown } = await startConnected();
    server.post(DM, 'alice', '1');
    server.historyStatus = 503;
    server.post(DM, 'alice', '2', { to: [] });
    server.post(DM, 'alice', '3', { to: [] });
    server.post(DM, 'alice', '4');
    server.post(OTHER, 'carol', 'other');
    server.post(DM, 'alice', '5');
    await until('a try', () => server.historyCalls.length > 1);
    expect(shown).toEqual(['1', 'other']);
    server.historyStatus = 200;
    await until('all shown', () => shown.length === 6);
    expect(shown).toEqual(['1', 'other', '2', '3', '4', '5']);
    expect(server.historyCalls[0]).toBe(`/v1/channels/${DM}/messages?after=1&limit=200`);
  });

  it('keeps the ack from passing it', async () => {
    const { server, shown } = await startConnected();
    server.post(DM, 'alice', '1');
    await until('acked', () => server.sent('ack').length === 1);
    server.historyStatus = 503;
    server.post(DM, 'alice', '2', { to: [] });
    server.post(DM, 'alice', '3');
    server.post(OTHER, 'carol', 'other');
    await until('retries', () => shown.includes('other') && server.historyCalls.length > 2);
    expect(server.sent('ack')).toHaveLength(1);
    server.historyStatus = 200;
    await until('acked', () => server.sent('ack').length === 2);
    expect(shown).toEqual(['1', 'other', '2', '3']);
  });

  it('waits while history is not complete, and skips only what history says is void', async () => {
    const { server, shown } = await startConnected();
    server.post(DM, 'alice', '1');
    server.voids.add(2);
    server.completeTo = 1;
    server.post(DM, 'alice', '2', { to: [] });
    server.post(DM, 'alice', '3', { to: [] });
    server.post(DM, 'alice', '4');
    await until('retries', () => server.historyCalls.length > 2);
    expect(shown).toEqual(['1']);
    server.completeTo = 4;
    await until('the rest', () => shown.length === 3);
    expect(shown).toEqual(['1', '3', '4']);
  });

  it('is given up when the channel cannot be read any more', async () => {
    const { server, shown, errors } = await startConnected();
    server.post(DM, 'alice', '1');
    server.historyStatus = 404;
    server.post(DM, 'alice', '2', { to: [] });
    server.post(DM, 'alice', '3');
    await until('it goes on', () => shown.length === 2);
    expect(shown).toEqual(['1', '3']);
    expect(errors[0]?.message).toContain('cannot be read');
  });

  it('was one that history said is void: what comes under its number after all is not shown behind what is later', async () => {
    const { server, shown } = await startConnected();
    const upTo = (last: number) => Array.from({ length: last }, (_, i) => String(i + 1));
    for (const content of upTo(130)) server.post(DM, 'alice', content);
    server.voids.add(131);
    const late = server.post(DM, 'alice', 'late', { to: [] });
    server.post(DM, 'alice', 'later');
    await until('it goes on', () => shown.at(-1) === 'later');
    server.deliver('bob', late);
    server.post(DM, 'alice', 'last');
    await until('the last', () => shown.at(-1) === 'last');
    expect(shown).toEqual([...upTo(130), 'later', 'last']);
  });

  it('is none where own messages stand, whether accepted before or after what follows', async () => {
    const { server, client, shown } = await startConnected();
    server.post(DM, 'alice', '1');
    await client.send({ to: 'alice', content: 'own, accepted first' });
    server.post(DM, 'alice', '3');
    server.intercept = (session, frame) => {
      if (frame.type !== 'send') return false;
      const answer = server.store(session.user, frame);
      server.post(DM, 'alice', '5');
      setTimeout(() => server.write(session, answer), 50);
      return true;
    };
    await client.send({ to: 'alice', content: 'own, accepted last' });
    await until('all shown', () => shown.length === 3);
    expect(shown).toEqual(['1', '3', '5']);
    expect(server.historyCalls).toEqual([]);
  });

  it('does not show the own message that comes back before its accepted', async () => {
    const { server, client, shown } = await startConnected();
    server.intercept = (session, frame) => {
      if (frame.type !== 'send') return false;
      server.post(DM, 'bob', frame.content, { client_id: frame.client_id, to: ['bob'] });
      setTimeout(() => server.write(session, server.store(session.user, frame)), 10);
      return true;
    };
    expect(await client.send({ to: 'alice', content: 'own' })).toMatchObject({ seq: 1 });
    server.post(DM, 'alice', '2');
    await until('shown', () => shown.length > 0);
    expect(shown).toEqual(['2']);
  });
});

describe('a gap', () => {
  it('fills the channels from where they were shown, over several pages, before what comes after it', async () => {
    const server = await startServer();
    const { client, shown } = newClient(server);
    const gaps: unknown[] = [];
    client.on('gap', (gap) => {
      gaps.push(gap.channels);
    });
    await client.connect();
    server.post(DM, 'alice', '1');
    await until('one shown', () => shown.length === 1);
    server.cut();
    for (let i = 2; i <= 500; i++) server.post(DM, 'alice', String(i), { to: [] });
    server.trim();
    for (let i = 501; i <= 510; i++) server.post(DM, 'alice', String(i));
    await until('all shown', () => shown.length === 510);
    expect(shown).toEqual(Array.from({ length: 510 }, (_, i) => String(i + 1)));
    expect(gaps).toEqual([[{ channel: DM, from: 1, to: 510, unknown: false }]]);
    await until('acked to the end', () => server.sent('ack').at(-1)?.offset === client.offset);
  });

  it('that history may not fill any more leaves room for what the inbox still has of it', async () => {
    const { server, client, shown, errors } = await startConnected();
    server.post(DM, 'alice', '1');
    await until('one shown', () => shown.length === 1);
    server.historyStatus = 404;
    const coming = ['2', '3', '4'].map((content) => server.post(DM, 'alice', content, { to: [] }));
    server.write(server.last, server.gapOf('bob', client.offset!));
    await until('refused', () => errors.length === 1);
    for (const event of coming.slice(1)) server.deliver('bob', event);
    await until('shown', () => shown.length === 3);
    expect(shown).toEqual(['1', '3', '4']);
  });

  it('that history could not fill is filled by the next one, when it may be read again', async () => {
    const { server, client, shown, errors } = await startConnected();
    server.post(DM, 'alice', '1');
    await until('one shown', () => shown.length === 1);
    server.historyStatus = 404;
    for (const content of ['2', '3']) server.post(DM, 'alice', content, { to: [] });
    server.write(server.last, server.gapOf('bob', client.offset!));
    await until('refused', () => errors.length === 1);
    server.historyStatus = 200;
    server.post(DM, 'alice', '4', { to: [] });
    server.write(server.last, server.gapOf('bob', client.offset!));
    await until('all shown', () => shown.length === 4);
    expect(shown).toEqual(['1', '2', '3', '4']);
  });

  it('in a new process goes on from the stored seq, or as far back as it was told', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    storage.saveProgress({ offset: '1000-0', shown: { [DM]: 2 } });
    for (let i = 1; i <= 6; i++) server.post(DM, 'alice', `a${i}`, { to: [] });
    for (let i = 1; i <= 6; i++) server.post(OTHER, 'carol', `c${i}`, { to: [] });
    server.trim();
    const { client, shown } = newClient(server, { storage, unknownFill: 2 });
    await client.connect();
    await until('filled', () => shown.length === 6);
    expect(shown.filter((content) => content.startsWith('a'))).toEqual(['a3', 'a4', 'a5', 'a6']);
    expect(shown.filter((content) => content.startsWith('c'))).toEqual(['c5', 'c6']);
  });
});

describe('the iterator', () => {
  it('gives every message once, also when it is slower than its bound allows, and acks what was taken', async () => {
    const { server, client } = await startConnected({ iteratorLimit: 10 });
    const messages = client.messages();
    for (let i = 1; i <= 100; i++) server.post(DM, 'alice', String(i));
    await client.history(DM);
    const taken: string[] = [];
    for await (const { content } of messages) {
      taken.push(content);
      // The loop is slower than the server: sends still work meanwhile.
      if (taken.length === 1) await client.send({ to: 'carol', content: 'hello' });
      if (taken.length === 100) break;
    }
    expect(taken).toEqual(Array.from({ length: 100 }, (_, i) => String(i + 1)));
    expect(server.sessions.length).toBeGreaterThan(1);
    await until('acked', () => server.sent('ack').at(-1)?.offset === client.offset);
    expect(client.offset).toBe(server.sent('ack').at(-1)?.offset);
  });

  it('does not ack what the loop has not come back for', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    const messages = client.messages();
    await client.connect();
    const offset = client.offset;
    server.post(DM, 'alice', '1');
    server.post(DM, 'alice', '2');
    await messages.next();
    await client.history(DM);
    await client.close();
    expect(client.offset).toBe(offset);
    expect(await messages.next()).toEqual({ done: true, value: undefined });
  });
});
