import { describe, expect, it } from 'vitest';
import { newClient, startServer } from './harness.ts';
import type { Conversations, ReceiptEvent, Watermarks } from './index.ts';
import { Receipts } from './receipts.ts';
import { until } from './scripted-server.ts';

const DM = 'dm:alice:bob';

async function connected(options: Parameters<typeof newClient>[1] = {}) {
  const server = await startServer();
  const { client, errors, shown } = newClient(server, options);
  const told: ReceiptEvent[] = [];
  client.on('receipt', (event) => void told.push(event));
  await client.connect();
  return { server, client, errors, shown, told };
}

describe('receipts', () => {
  it('move a message of one’s own from sent to delivered to read, and never back', async () => {
    const { server, client, told } = await connected();
    const { seq } = await client.send({ channel: DM, content: 'hello' });
    expect(client.tick(DM, seq)).toBe('sent');
    server.tellReceipt('bob', DM, 'alice', 1, 0);
    await until('delivered', () => client.tick(DM, seq) === 'delivered');
    server.tellReceipt('bob', DM, 'alice', 1, 1);
    await until('read', () => client.tick(DM, seq) === 'read');
    // Older ones, late or again; and one whose fields each know something newer.
    server.tellReceipt('bob', DM, 'alice', 1, 0);
    server.tellReceipt('bob', DM, 'alice', 1, 1);
    server.tellReceipt('bob', DM, 'alice', 5, 0);
    await until('all heard', () => told.length === 3);
    expect(told).toEqual([
      { channel: DM, user: 'alice', delivered: 1, read: 0 },
      { channel: DM, user: 'alice', delivered: 1, read: 1 },
      { channel: DM, user: 'alice', delivered: 5, read: 1 },
    ]);
    expect([...client.receipts(DM)]).toEqual([['alice', { delivered: 5, read: 1 }]]);
  });

  it('are not needed of those who write: they have read up to their message', async () => {
    const { server, client, shown, told } = await connected();
    const { seq } = await client.send({ channel: DM, content: 'hello' });
    server.post(DM, 'alice', 'hello yourself');
    await until('shown', () => shown.length === 1);
    expect(client.tick(DM, seq)).toBe('read');
    expect(told).toEqual([{ channel: DM, user: 'alice', delivered: 2, read: 2 }]);
  });

  it('of a group: the least of all members counts, once they are loaded', async () => {
    const { server, client } = await connected();
    server.groups.set('g:one', ['alice', 'bob', 'carol']);
    const { seq } = await client.send({ channel: 'g:one', content: 'hello' });
    expect(client.tick('g:one', seq)).toBe('sent');
    server.receipts.set('g:one', [
      { user: 'alice', delivered: 1, read: 1 },
      { user: 'bob', delivered: 0, read: 0 },
      { user: 'carol', delivered: 0, read: 0 },
    ]);
    expect(await client.loadReceipts('g:one')).toHaveLength(3);
    expect(client.tick('g:one', seq)).toBe('sent');
    server.tellReceipt('bob', 'g:one', 'carol', 1, 0);
    await until('delivered to all', () => client.tick('g:one', seq) === 'delivered');
    // A list that is older than what was heard takes nothing back; who is gone does not count.
    server.receipts.set('g:one', [{ user: 'alice', delivered: 0, read: 0 }]);
    await client.loadReceipts('g:one');
    expect(client.tick('g:one', seq)).toBe('read');
    expect([...client.receipts('g:one').keys()]).toEqual(['alice']);
  });

  it('missed in a break are asked for again where a message is not read by all and its tick is looked at', async () => {
    const { server, client, errors } = await connected();
    const { seq } = await client.send({ channel: DM, content: 'looked at' });
    await client.send({ channel: 'dm:bob:carol', content: 'nobody looks at it' });
    expect(client.tick(DM, seq)).toBe('sent');
    server.receipts.set(DM, [{ user: 'alice', delivered: 1, read: 0 }]);
    server.cut();
    await until('delivered', () => client.tick(DM, seq) === 'delivered');
    // A session that fell behind has missed them as well.
    server.receipts.set(DM, [{ user: 'alice', delivered: 1, read: 1 }]);
    server.historyCalls.length = 0;
    server.write(server.last, server.gapOf('bob', '1-0'));
    await until('read', () => client.tick(DM, seq) === 'read');
    server.cut();
    await until('a third session', () => server.sessions.length === 3 && client.state === 'live');
    await client.history(DM);
    expect(server.historyCalls.map((call) => call.split('/').at(-1))).toEqual(['receipts', 'messages']);
    expect(errors).toEqual([]);
  });

  it('of direct channels come with the conversation list too; only the channels used latest are remembered', async () => {
    const told: ReceiptEvent[] = [];
    const receipts = new Receipts({
      load: () => expect.unreachable(),
      changed: (event) => void told.push(event),
      failed: (error) => expect.unreachable(String(error)),
      random: Math.random,
    });
    receipts.begin('bob');
    const of = (channel: string, peer?: Watermarks): Conversations['conversations'][number] => {
      const same = { last_seq: 9, read_seq: 9, unread: 0, last_message: null };
      return { channel, ...same, ...(peer === undefined ? {} : { peer }) };
    };
    const conversations = [of(DM, { delivered: 9, read: 4 }), of('g:one'), of('dm:bob:bob')];
    receipts.listed({ conversations, unread_total: 0, offset: '1-0' });
    expect(told).toEqual([{ channel: DM, user: 'alice', delivered: 9, read: 4 }]);
    expect([4, 9, 10].map((seq) => receipts.tick(DM, seq))).toEqual(['read', 'delivered', 'sent']);
    expect(receipts.tick('dm:bob:bob', 1)).toBe('read');
    for (let i = 0; i < 600; i++) {
      receipts.raise(`g:${i}`, 'alice', { delivered: 1, read: 1 });
      if (i < 300) receipts.tick(DM, 1);
    }
    expect(receipts.tick(DM, 4)).toBe('read');
    expect(receipts.tick('g:599', 1)).toBe('read');
    expect(receipts.tick('g:0', 1)).toBe('sent');
  });

  it('of who is removed do not count any more, and who is added has nothing to read of what was before', async () => {
    const receipts = new Receipts({ load: async () => [], changed: () => {}, failed: () => {}, random: Math.random });
    receipts.begin('bob');
    receipts.loaded('g:one', [
      { user: 'alice', delivered: 5, read: 5 },
      { user: 'bob', delivered: 5, read: 5 },
      { user: 'carol', delivered: 0, read: 0 },
    ]);
    const member = { type: 'member', channel: 'g:one', id: '', role: 'member', by: 'bob', ts: 0 } as const;
    expect(receipts.tick('g:one', 5)).toBe('sent');
    receipts.shown({ ...member, seq: 6, user: 'carol', action: 'removed' });
    expect(receipts.tick('g:one', 5)).toBe('read');
    receipts.shown({ ...member, seq: 7, user: 'dave', action: 'added' });
    expect([5, 8].map((seq) => receipts.tick('g:one', seq))).toEqual(['read', 'sent']);
  });

  it('missed in a break are asked for until there is an answer', async () => {
    const { server, client, errors } = await connected({ reconnectBaseMs: 20, reconnectCapMs: 20 });
    const { seq } = await client.send({ channel: DM, content: 'looked at' });
    expect(client.tick(DM, seq)).toBe('sent');
    server.receipts.set(DM, [{ user: 'alice', delivered: 1, read: 1 }]);
    server.historyStatus = 503;
    server.cut();
    await until('asked twice', () => server.historyCalls.length >= 2);
    expect(client.tick(DM, seq)).toBe('sent');
    server.historyStatus = 200;
    await until('read', () => client.tick(DM, seq) === 'read');
    expect(errors).toEqual([]);
  });
});

describe('acks', () => {
  it('are not sent for receipts alone, but cover them: with the next message’s, the heartbeat’s, or at the close', async () => {
    const { server, client, shown } = await connected();
    await client.send({ channel: DM, content: 'hello' });
    await until('live acked', () => client.state === 'live');
    const acked = () => server.sent('ack').map(({ offset }) => offset);
    const before = acked().length;
    for (let i = 0; i < 60; i++) server.tellReceipt('bob', DM, 'alice', 100 + i, 0);
    await until('heard', () => client.receipts(DM).get('alice')?.delivered === 159);
    // A round trip later nothing was sent for them, though more came than `ackEvery`.
    client.read(DM, 1);
    await until('read', () => server.sent('read').length === 1);
    expect(acked()).toHaveLength(before);
    server.post(DM, 'alice', 'and a message');
    await until('acked', () => acked().length === before + 1 && shown.length === 1);
    server.tellReceipt('bob', DM, 'alice', 200, 200);
    await until('heard', () => client.receipts(DM).get('alice')?.delivered === 200);
    const { offset } = client;
    await client.close();
    await until('acked at the close', () => acked().length === before + 2);
    expect(acked().at(-1)).not.toBe(offset);
    expect(client.offset).toBe(acked().at(-1));
  });

  it('of receipts go with the heartbeat', async () => {
    const server = await startServer();
    server.heartbeatMs = 30;
    const { client } = newClient(server);
    await client.connect();
    server.tellReceipt('bob', DM, 'alice', 1, 0);
    await until('acked', () => server.sent('ack').length === 1);
  });
});
