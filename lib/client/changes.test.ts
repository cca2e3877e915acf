import { describe, expect, it } from 'vitest';
import { newClient, startConnected, startServer } from './harness.ts';
import { type ChannelEvent, MemoryStorage, type MillraceClient } from './index.ts';
import { until } from './scripted-server.ts';

const DM = 'dm:alice:bob';

function events(client: MillraceClient): string[] {
  const all: string[] = [];
  client.on('event', (event: ChannelEvent) => {
    const target = event.type === 'edited' || event.type === 'deleted' ? ` ${event.target}` : '';
    const text = event.type === 'message' || event.type === 'edited' ? ` ${event.content || '(no text)'}` : '';
    const state = event.type === 'message' && event.edited_at !== undefined ? ' (edited)' : '';
    all.push(`${event.seq} ${event.type}${target}${text}${state}`);
  });
  return all;
}

describe('edits and deletions', () => {
  it('resolve with their place in the channel, and are not shown to the one who made them', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    const all = events(client);
    await client.connect();
    await client.send({ to: 'alice', content: 'first' });
    expect(await client.edit({ channel: DM, seq: 1, content: 'second' })).toMatchObject({ seq: 2, duplicate: false });
    expect(await client.delete({ channel: DM, seq: 1, client_id: 'mine' })).toMatchObject({
      seq: 3,
      client_id: 'mine',
    });
    expect(server.sent('edit')).toMatchObject([{ channel: DM, seq: 1, content: 'second' }]);
    expect(server.sent('delete')).toMatchObject([{ channel: DM, seq: 1, client_id: 'mine' }]);
    server.post(DM, 'alice', 'after');
    await until('the next message', () => all.length > 0);
    expect(all).toEqual(['4 message after']);
  });

  it('of others come as events, in order', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    const all = events(client);
    await client.connect();
    server.post(DM, 'alice', 'first');
    server.change(DM, 'alice', 1, 'second');
    server.post(DM, 'alice', 'more');
    server.change(DM, 'alice', 1);
    await until('all', () => all.length === 4);
    expect(all).toEqual(['1 message first', '2 edited 1 second', '3 message more', '4 deleted 1']);
  });

  it('are sent again under the same client_id, in order with messages, when the connection is lost over them', async () => {
    const { server, client } = await startConnected();
    await client.send({ channel: DM, content: 'first' });
    let cuts = 0;
    // Stored, but the answer is lost with the connection.
    server.intercept = (session, frame) => {
      if ((frame.type !== 'edit' && frame.type !== 'delete') || cuts > 1 || server.sent(frame.type).length > 1)
        return false;
      cuts++;
      server.store(session.user, frame);
      server.cut();
      return true;
    };
    const all = await Promise.all([
      client.edit({ channel: DM, seq: 1, content: 'second' }),
      client.send({ channel: DM, content: 'between' }),
      client.delete({ channel: DM, seq: 1 }),
      client.send({ channel: DM, content: 'last' }),
    ]);
    expect(all.map(({ seq, duplicate }) => [seq, duplicate])).toEqual([
      [2, true],
      [3, false],
      [4, true],
      [5, false],
    ]);
    expect(new Set(server.sent('edit').map((f) => f.client_id)).size).toBe(1);
  });

  it('survive the process: what was not accepted goes out at the next start', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    const first = newClient(server, { storage });
    await first.client.connect();
    await first.client.send({ channel: DM, content: 'first' });
    server.intercept = (_, frame) => frame.type === 'edit';
    const lost = first.client.edit({ channel: DM, seq: 1, content: 'second' });
    const rejected = expect(lost).rejects.toMatchObject({ code: 'unavailable' });
    await until('the edit was sent', () => server.sent('edit').length === 1);
    await first.client.close({ timeoutMs: 0 });
    await rejected;
    server.intercept = () => false;
    const again = newClient(server, { storage });
    await again.client.connect();
    await until('nothing is pending', () => again.client.pending === 0);
    expect(server.sent('edit').map(({ client_id }) => client_id)).toHaveLength(2);
    expect((await again.client.history(DM)).messages.at(-1)).toMatchObject({ content: 'second' });
  });

  it('refused for good, reject', async () => {
    const { server, client } = await startConnected();
    server.intercept = (session, { type, ...frame }) => {
      if (type !== 'delete') return false;
      const client_id = 'client_id' in frame ? frame.client_id : '';
      server.write(session, { type: 'error', code: 'not_found', message: 'no such message', client_id });
      return true;
    };
    await expect(client.delete({ channel: DM, seq: 9 })).rejects.toMatchObject({ code: 'not_found' });
    await expect(client.edit({ channel: DM, seq: 9, content: '' })).rejects.toMatchObject({ code: 'bad_request' });
    await expect(client.edit({ channel: DM, seq: 9, content: 'x', client_id: 'a b' })).rejects.toMatchObject({
      code: 'bad_request',
    });
    expect(server.sent('edit')).toEqual([]);
  });

  it('that were missed are filled from history: the messages come as they are now, the changes in their places', async () => {
    const server = await startServer();
    const { client } = newClient(server);
    const all = events(client);
    await client.connect();
    server.post(DM, 'alice', 'known');
    await until('the first', () => all.length === 1);
    server.post(DM, 'alice', 'old text', { to: [] });
    server.post(DM, 'alice', 'gone', { to: [] });
    server.change(DM, 'alice', 2, 'new text', { to: [] });
    server.change(DM, 'alice', 3, 'gone too', { to: [] });
    server.change(DM, 'alice', 1, 'known, but new', { to: [] });
    server.change(DM, 'alice', 3, undefined, { to: [] });
    server.post(DM, 'alice', 'live');
    await until('all', () => all.length === 8);
    expect(all).toEqual([
      '1 message known',
      '2 message new text (edited)',
      '3 message (no text)',
      '4 edited 2 new text',
      '5 edited 3 (no text)',
      '6 edited 1 known, but new',
      '7 deleted 3',
      '8 message live',
    ]);
  });

  it('of long ago, perhaps stored: history tells', async () => {
    const server = await startServer();
    const storage = new MemoryStorage();
    const longAgo = Date.now() - 2 * 3600_000;
    server.post(DM, 'bob', 'first', { ts: longAgo });
    server.change(DM, 'bob', 1, 'second');
    const { client_id } = server.change(DM, 'bob', 1);
    storage.putSend({ frame: { type: 'delete', client_id, channel: DM, seq: 1 }, at: longAgo });
    const { client } = newClient(server, { storage });
    await client.connect();
    await until('nothing is pending', () => client.pending === 0);
    expect(server.sent('delete')).toEqual([]);
  });
});
