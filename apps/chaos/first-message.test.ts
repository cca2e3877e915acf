import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Message, MillraceClient } from '../../lib/client/index.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';

let redis: RedisServer;
let deployment: Deployment;
let gateways: MillraceProcess[];
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'));
  redis = await startRedis();
  deployment = new Deployment({ redisUrl: redis.url, archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}` });
  gateways = [await deployment.start('gateway'), await deployment.start('gateway')];
  await deployment.start('fanout', 'archiver');
});

afterAll(async () => {
  await deployment?.stop();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function client(user: string, gateway = 0, device = 'phone') {
  return new MillraceClient({ url: gateways[gateway]!.address, token: deployment.token(user), device });
}

async function take(messages: AsyncIterable<Message>, count: number): Promise<Message[]> {
  const taken: Message[] = [];
  for await (const message of messages) if (taken.push(message) >= count) break;
  return taken;
}

describe('one message’s whole life', () => {
  it('goes from alice to bob across two gateways, in order, and into history', async () => {
    const alice = client('alice');
    const bob = client('bob', 1);
    await Promise.all([alice.connect(), bob.connect()]);
    const received = take(bob.messages(), 20);
    const accepted = [];
    for (let i = 0; i < 20; i++) accepted.push(await alice.send({ to: 'bob', content: `message ${i} \u0000 🜁` }));
    expect(accepted.map((a) => a.seq)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect((await received).map((m) => m.content)).toEqual(
      Array.from({ length: 20 }, (_, i) => `message ${i} \u0000 🜁`),
    );
    const history = await bob.history('dm:alice:bob', { limit: 50 });
    expect(history.messages).toHaveLength(20);
    expect(history.complete_to).toBe(20);
    const { conversations, unread_total } = await bob.conversations();
    expect(conversations[0]).toMatchObject({ channel: 'dm:alice:bob', last_seq: 20, unread: 20 });
    expect(unread_total).toBe(20);
    await alice.close();
    await bob.close();
  });

  it('waits for a recipient who was away, and is replayed on another gateway', async () => {
    const carol = client('carol');
    await carol.connect();
    await carol.close();
    const alice = client('alice');
    await alice.connect();
    for (let i = 0; i < 150; i++) await alice.send({ to: 'carol', content: `missed ${i}` });
    const again = client('carol', 1);
    const received = take(again.messages(), 150);
    await again.connect();
    expect((await received).map((m) => m.content)).toEqual(Array.from({ length: 150 }, (_, i) => `missed ${i}`));
    await again.close();
    await alice.close();
  });
});
