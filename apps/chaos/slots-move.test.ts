/**
 * Who watches, types, reads and is told of it, while slots of a Redis cluster move and a primary dies: subscriptions are set
 * up again where the slots went, and what is told converges to what is true.
 */
import keySlot from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type RedisCluster, type RedisClusterNode, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { People } from './every-redis.ts';
import type { RawSession } from './raw-session.ts';

const CONVERGED_MS = 45_000;

let people: People<RedisCluster>;
beforeAll(async () => {
  people = await People.on(startRedisCluster({ primaries: 3, replicasPerPrimary: 1 }));
});
afterAll(() => people?.stop());

const slotOf = (user: string) => keySlot(people.keys.presence(user));
/** The primary that had the user’s slot at the start. */
const homeOf = (user: string) => Math.floor((slotOf(user) * 3) / 16_384);
/** Somebody who lives on that primary. */
function somebodyOn(primary: number, name: string): string {
  for (let i = 0; ; i++) if (homeOf(`${name}-${i}`) === primary) return `${name}-${i}`;
}
const node = (role: 'primary' | 'replica', i: number) => people.redis.nodes.filter((n) => n.role === role)[i]!;

async function on<T>(target: RedisClusterNode, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(target.url, { maxRetriesPerRequest: 1 });
  try {
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}

/** Sends until accepted, as the client library does. */
async function say(session: RawSession, to: string, client_id: string): Promise<number> {
  let sent = -1000;
  const accepted = () => session.of('accepted').find((frame) => frame.client_id === client_id);
  await until(`${client_id} is accepted`, CONVERGED_MS, () => {
    if (accepted()) return true;
    if (performance.now() - sent > 1000) {
      sent = performance.now();
      session.send({ type: 'send', client_id, to, content: 'hello' });
    }
    return false;
  });
  return Number(accepted()?.seq);
}

/** The latest that the session was told of someone. */
const statusOf = (session: RawSession, user: string) =>
  session
    .of('presence')
    .filter((frame) => frame.user === user)
    .at(-1)?.status;
const told = (session: RawSession, user: string, status: string) =>
  until(
    `${user} is seen ${status}`,
    CONVERGED_MS,
    () => statusOf(session, user),
    (seen) => seen === status,
  );

/** A receipt that says that all was read, told over the wire and the same for whoever asks. */
async function readArrives(reader: RawSession, writer: RawSession, names: [string, string], channel: string) {
  const [readerName, writerName] = names;
  const seq = await say(writer, readerName, `to-read-${writer.frames.length}`);
  await reader.next('message', { channel, seq }, CONVERGED_MS);
  reader.send({ type: 'read', channel, seq });
  await writer.next('receipt', { channel, user: readerName, delivered: seq, read: seq }, CONVERGED_MS);
  for (const gateway of [0, 1]) {
    expect(await people.receipts(writerName, channel, gateway)).toContainEqual({
      user: readerName,
      delivered: seq,
      read: seq,
    });
  }
}

const dm = (a: string, b: string) => `dm:${[a, b].sort().join(':')}`;

it('a slot moves: its users are watched, typed to and read on the server that now has it', async () => {
  const [ann, ben] = [somebodyOn(1, 'ann'), somebodyOn(0, 'ben')];
  const channel = dm(ann, ben);
  const [watcher, watched] = await Promise.all([people.start(ann, 0), people.start(ben, 1)]);
  await say(watcher, ben, 'first');
  await watched.next('message');
  watcher.send({ type: 'watch', users: [ben] });
  await told(watcher, ben, 'online');
  await people.type(watcher, watched, channel, CONVERGED_MS);

  await people.redis.moveSlot(slotOf(ben), node('primary', 2));
  await people.type(watcher, watched, channel, CONVERGED_MS);
  await readArrives(watched, watcher, [ben, ann], channel);
  await watched.close();
  await told(watcher, ben, 'offline');
  const back = await people.start(ben, 1);
  await told(watcher, ben, 'online');
  await people.redis.moveSlot(slotOf(ben), node('primary', 0));
  // While nothing was heard of it: only what is read again after the subscription can tell.
  await back.close();
  await told(watcher, ben, 'offline');
  await watcher.close();
}, 180_000);

it('a primary is killed: who came and went meanwhile is seen so, and what was read is told', async () => {
  const [cat, dov, eve, fin] = [somebodyOn(0, 'cat'), somebodyOn(1, 'dov'), somebodyOn(1, 'eve'), somebodyOn(1, 'fin')];
  const channel = dm(cat, dov);
  const [watcher, reader, leaving] = await Promise.all([
    people.start(cat, 0),
    people.start(dov, 1),
    people.start(eve, 1),
  ]);
  const visitor = await people.start(fin, 0);
  for (const other of [dov, eve, fin]) await say(watcher, other, `hello-${other}`);
  await Promise.all([reader, leaving, visitor].map((session) => session.next('message')));
  await visitor.close();
  watcher.send({ type: 'watch', users: [dov, eve, fin] });
  await Promise.all([told(watcher, dov, 'online'), told(watcher, eve, 'online'), told(watcher, fin, 'offline')]);
  await people.type(watcher, reader, channel, CONVERGED_MS);

  const [victim, heir] = [node('primary', 1), node('replica', 1)];
  await until('the replica has everything', 10_000, async () => {
    const info = await on(victim, (redis) => redis.info('replication'));
    const [, own] = /master_repl_offset:(\d+)/.exec(info) ?? [];
    return new RegExp(`slave0:.*offset=${own},`).test(info);
  });
  const before = watcher.frames.length;
  victim.kill('SIGKILL');
  await leaving.close();
  reader.send({ type: 'read', channel, seq: 1 });
  const roleOfHeir = () => on(heir, async (redis) => String((await redis.role())[0]));
  await until('the replica is promoted', 20_000, roleOfHeir, (role) => role === 'master');

  const visiting = await until('fin is let in again', CONVERGED_MS, () => people.start(fin, 1).catch(() => undefined));
  await Promise.all([told(watcher, eve, 'offline'), told(watcher, fin, 'online')]);
  await people.type(watcher, reader, channel, CONVERGED_MS);
  await readArrives(reader, watcher, [dov, cat], channel);
  // Nobody who was there all the time is said to have gone, and no watermark went back.
  const since = watcher.frames.slice(before);
  expect(since.filter(({ type, user, status }) => type === 'presence' && user === dov && status === 'offline')).toEqual(
    [],
  );
  const reads = since.filter(({ type, user }) => type === 'receipt' && user === dov).map(({ read }) => Number(read));
  expect(reads).toEqual([...reads].sort((a, b) => a - b));
  await Promise.all([watcher, reader, visiting].map((session) => session?.close()));
}, 180_000);
