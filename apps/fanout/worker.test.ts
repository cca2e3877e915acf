/**
 * Interleavings that would lose a message, forced one by one: the worker on a real Redis, with calls and answers held back
 * between the two.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { Block } from '../../lib/redis/delivery.ts';
import type { ScriptLanes } from '../../lib/redis/script-lane.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import type { Command } from '../../lib/redis/wire.ts';
import { createMetrics } from '../../lib/telemetry/metrics.ts';
import { connect, inboxOf, keys, message, useStore } from '../../lua/harness.ts';
import { until } from '../../ops/until.ts';
import { FanoutWorker } from './worker.ts';

const store = useStore();
const CHANNEL = 'dm:alice:bob';
const SOURCE = keys.partitionOf(CHANNEL);
const BOB = keys.partitionOf('bob');

/** Where calls wait until they are let go. */
class Gate {
  closed = false;
  readonly waiting: (() => void)[] = [];

  async pass(): Promise<void> {
    if (this.closed) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  open(): void {
    this.closed = false;
    for (const go of this.waiting.splice(0)) go();
  }

  /** Lets the first one go; the gate stays closed. */
  one(): void {
    this.waiting.shift()?.();
  }

  held(count = 1) {
    return until(
      'a call is held',
      5_000,
      () => this.waiting.length,
      (n) => n >= count,
    );
  }
}

let calls: Gate;
let answers: Gate;
let reads: Gate;
let worker: FanoutWorker;
let unreadable: Set<string>;
/** The key whose reads wait at its gate. */
let slow: { key: string; gate: Gate } | undefined;
/** Called before the log is read by a pair that catches up. */
let beforeRead: () => Promise<unknown>;

class HeldVerbs extends Verbs {
  override async deliver(blocks: readonly Block[]) {
    await calls.pass();
    const reply = await super.deliver(blocks);
    await answers.pass();
    return reply;
  }
}

/** Redis, with XRANGE held after its answer and some keys that do not answer. */
function held(redis: Redis): Redis {
  return new Proxy(redis, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        if (typeof args[0] === 'string' && unreadable.has(args[0])) throw new Error('Connection is closed.');
        if (args[0] === slow?.key) await slow?.gate.pass();
        return Reflect.apply(value, target, args);
      };
    },
  });
}

/** Reads of the log wait at the gate with their answers. */
function heldLanes(): ScriptLanes {
  const call = async ([command, ...args]: Command): Promise<unknown> => {
    await beforeRead();
    const reply = await store.redis.call(String(command), ...args);
    await reads.pass();
    return reply;
  };
  const atOnce = ([command, ...args]: Command) => store.redis.call(String(command), ...args);
  return { lane: () => ({ call }), hasty: () => ({ call: atOnce }) } as unknown as ScriptLanes;
}

function makeWorker(): FanoutWorker {
  return new FanoutWorker({
    store: { kind: 'standalone', command: held(store.redis), groups: (all) => [[...all]] } as RedisStore,
    keys,
    onLost: () => undefined,
    verbs: new HeldVerbs(store.redis, keys),
    lanes: heldLanes(),
    metrics: createMetrics(),
    logger: pino({ level: 'silent' }),
  });
}

beforeEach(async () => {
  calls = new Gate();
  answers = new Gate();
  reads = new Gate();
  unreadable = new Set();
  slow = undefined;
  beforeRead = async () => undefined;
  worker = makeWorker();
  await connect(store.verbs, 'alice');
  await connect(store.verbs, 'bob');
});

let sent = 0;
async function append(count: number, content = 'text'): Promise<void> {
  for (let i = 0; i < count; i++) {
    await store.verbs.append(message('alice', CHANNEL, `c-${++sent}`, { content, via: 'phone' }));
  }
}

/** What the follower would read after an id. */
async function entriesAfter(id: string, source = SOURCE) {
  const entries = await store.redis.xrange(keys.log(source), `(${id}`, '+');
  return [{ partition: source, entries: entries.map(([entryId, fields]) => ({ id: entryId, fields })) }];
}

const seqs = async (user = 'bob') => (await inboxOf(store.redis, user)).map((entry) => Number(entry.seq));
const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1);
const bobHas = (last: number) =>
  until(
    'bob has all',
    5_000,
    () => seqs(),
    (got) => got.length >= last,
  ).then((got) => expect(got).toEqual(upTo(last)));

/** What a failover does to bob's partition. */
async function snapshot(): Promise<() => Promise<void>> {
  const names = [keys.cursor(BOB), keys.inbox('bob'), keys.devices('bob'), keys.conversations('bob')];
  const dumps = await Promise.all(names.map((name) => store.redis.dumpBuffer(name)));
  return async () => {
    for (const [i, name] of names.entries()) {
      if (dumps[i]) await store.redis.restore(name, 0, dumps[i], 'REPLACE');
      else await store.redis.del(name);
    }
  };
}

/** All that the log has, as advance.lua does it. Returns up to where. */
async function trimLog(): Promise<string> {
  const [last] = await store.redis.xrevrange(keys.log(SOURCE), '+', '-', 'COUNT', 1);
  await store.redis.hset(keys.positions(SOURCE), 'trimmed', last![0]);
  await store.redis.xtrim(keys.log(SOURCE), 'MAXLEN', 0);
  return last![0];
}

const floorIsSet = () => until('the floor is set', 5_000, () => store.redis.hget(keys.cursor(BOB), 'floor'));

describe('losing and gaining a partition', () => {
  it('an answer from before does not move the cursor over what the new queue holds', async () => {
    // Notes to oneself: one target only, so that calls of the old and the new queue alternate.
    const source = keys.partitionOf('dm:bob:bob');
    const note = () => store.verbs.append(message('bob', 'dm:bob:bob', `c-${++sent}`, { via: 'tablet' }));
    for (let i = 0; i < 150; i++) await note();
    const from = await worker.gain(source);
    answers.closed = true;
    await worker.handle(await entriesAfter(from, source)); // returns after its bound, the answer outstanding
    await answers.held();
    worker.lose(source);
    for (let i = 0; i < 150; i++) await note();
    const again = await worker.gain(source);
    const round = worker.handle(await entriesAfter(again, source));
    answers.open();
    await round;
    await bobHas(300);
  });

  it('a target that does not answer keeps no other from being served, and is filled when it does', async () => {
    await append(3);
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await bobHas(3);
    worker.lose(SOURCE);
    await append(3);
    await store.verbs.append(message('alice', 'dm:alice:bob', `c-${++sent}`));
    unreadable.add(keys.cursor(keys.partitionOf('alice')));
    worker = makeWorker();
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    unreadable.clear();
    await bobHas(7);
  });
});

describe('a target that does not answer for long', () => {
  it('holds up the first round, and not each of them', async () => {
    let at = await worker.gain(SOURCE);
    calls.closed = true;
    const batches = [];
    for (let i = 0; i < 20; i++) {
      await append(1);
      batches.push(await entriesAfter(at));
      at = batches[i]?.[0]?.entries.at(-1)?.id ?? at;
    }
    const from = performance.now();
    for (const batch of batches) await worker.handle(batch);
    expect(performance.now() - from).toBeLessThan(20 * 100);
    calls.open();
    await bobHas(20);
  });
});

describe('a source that is taken over', () => {
  it('does not wait for a target that is silent; that one is filled from its cursor when it answers', async () => {
    await append(3);
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await bobHas(3);
    worker.lose(SOURCE);
    await append(3);
    const [last] = await store.redis.xrevrange(keys.log(SOURCE), '+', '-', 'COUNT', 1);
    const gate = new Gate();
    gate.closed = true;
    slow = { key: keys.cursor(keys.partitionOf('alice')), gate };
    worker = makeWorker();
    const gained = await Promise.race([worker.gain(SOURCE), gate.held().then(() => sleep(5_000, undefined))]);
    expect(gained).toBeDefined();
    await worker.handle(await entriesAfter(gained!));
    await bobHas(6);
    expect(worker.position(SOURCE)).not.toBe(last?.[0]);
    gate.open();
    await until('alice’s partition has all', 5_000, () => worker.position(SOURCE) === last?.[0]);
  });
});

describe('a target put back', () => {
  it('is filled again when nothing new is sent', async () => {
    await append(5);
    const from = await worker.gain(SOURCE);
    await worker.handle(await entriesAfter(from));
    await bobHas(5);
    const putBack = await snapshot();
    await append(5);
    await worker.handle(await entriesAfter(worker.position(SOURCE) ?? ''));
    await bobHas(10);
    await putBack();
    expect(await seqs()).toEqual(upTo(5));
    await worker.check();
    await bobHas(10);
  });

  it('while it is being filled for another reason: goes back further, and misses nothing', async () => {
    await append(5);
    const from = await worker.gain(SOURCE);
    await worker.handle(await entriesAfter(from));
    await bobHas(5);
    const putBack = await snapshot();
    await append(5);
    await worker.handle(await entriesAfter(worker.position(SOURCE) ?? ''));
    await bobHas(10);
    const at = worker.position(SOURCE) ?? '';
    // One call on its way, and so much behind it that the queue is dropped: the pair begins to read the log for itself.
    calls.closed = true;
    reads.closed = true;
    await append(1);
    await worker.handle(await entriesAfter(at));
    await calls.held();
    await append(150, 'x'.repeat(8000));
    await worker.handle(await entriesAfter(at));
    await reads.held();
    // Now the target loses its tail; the call on its way finds out, the reading under way knows nothing of it.
    await putBack();
    calls.open();
    await until('the call has come back', 5_000, () => worker.position(SOURCE) !== at);
    reads.open();
    await bobHas(161);
  });

  it('before the log’s tail: sets a floor, so that readers are told of a gap, and goes on', async () => {
    await append(5);
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await bobHas(5);
    const putBack = await snapshot();
    await append(5);
    await worker.handle(await entriesAfter(worker.position(SOURCE) ?? ''));
    await bobHas(10);
    await putBack();
    const last = await trimLog();
    await worker.check();
    await floorIsSet();
    await until(
      'the target stands where the log goes on',
      5_000,
      async () => (await store.redis.hget(keys.cursor(BOB), String(SOURCE))) === last,
    );
    await append(1);
    await worker.handle(await entriesAfter(last));
    await until(
      'what comes later is delivered',
      5_000,
      () => seqs(),
      (got) => got.at(-1) === 11,
    );
    expect(await connect(store.verbs, 'bob', 'laptop', 'gw1', '1-0')).toMatchObject({ gap: true });
  });

  it('before the log’s tail, while a worker is late that read no further either: it does not go on from there', async () => {
    await append(5);
    const late = worker;
    await late.handle(await entriesAfter(await late.gain(SOURCE)));
    await bobHas(5);
    const putBack = await snapshot();
    const at = late.position(SOURCE) ?? '';
    worker = makeWorker();
    await append(5);
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await bobHas(10);
    await trimLog();
    await putBack();
    await append(1);
    // From its place to the end the log has one entry, and the target stands where it thinks.
    await late.handle(await entriesAfter(at));
    await floorIsSet();
    await until('what the log holds is delivered', 5_000, async () => (await seqs()).at(-1) === 11);
  });

  it('before the log’s tail, which is trimmed while the target is being filled', async () => {
    await append(5);
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await bobHas(5);
    const putBack = await snapshot();
    await append(5);
    await worker.handle(await entriesAfter(worker.position(SOURCE) ?? ''));
    await bobHas(10);
    await putBack();
    let trimmed: Promise<string> | undefined;
    beforeRead = () => (trimmed ??= trimLog());
    await worker.check();
    await floorIsSet();
  });

  it('before the log’s tail, found by the worker that takes over', async () => {
    await append(5);
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await bobHas(5);
    await append(3);
    const [{ entries } = { entries: [] }] = await entriesAfter(worker.position(SOURCE) ?? '');
    await store.redis.xtrim(keys.log(SOURCE), 'MAXLEN', 1);
    await store.redis.hset(keys.positions(SOURCE), 'trimmed', entries.at(-1)!.id);
    worker.lose(SOURCE);
    worker = makeWorker();
    await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
    await floorIsSet();
    await until(
      'what the log holds is delivered',
      5_000,
      () => seqs(),
      (got) => got.at(-1) === 8,
    );
  });
});

it('a worker that took over and stops before it read the log leaves every cursor where it was', async () => {
  await append(3);
  await worker.handle(await entriesAfter(await worker.gain(SOURCE)));
  await bobHas(3);
  const cursor = await store.redis.hget(keys.cursor(BOB), String(SOURCE));
  // Other targets, to whom nothing came, still stand at the log's beginning: that is where it is to be read from.
  const next = makeWorker();
  expect(await next.gain(SOURCE)).toBe('0-0');
  await next.settle(5_000);
  expect(await store.redis.hget(keys.cursor(BOB), String(SOURCE))).toBe(cursor);
});

it('a channel whose keys have the wrong type is set aside, and keeps nobody else from their messages', async () => {
  const group = 'g:broken';
  const more = { id: 'id-1', clientId: 'create', title: 'broken', members: ['alice', 'bob'] };
  await store.verbs.create({ channel: group, ...more });
  const other = keys.partitionOf(group);
  await store.verbs.append(message('alice', group, 'c-group', { via: 'phone' }));
  await store.redis.set(keys.members(group), 'not a hash');
  await worker.gain(other);
  const entries = await store.redis.xrange(keys.log(other), '-', '+');
  const batch = { partition: other, entries: entries.map(([id, fields]) => ({ id, fields })) };
  await append(2);
  await worker.gain(SOURCE);
  await worker.handle([batch, ...(await entriesAfter('0-0'))]);
  await until(
    'the message of the other channel is there',
    5_000,
    () => inboxOf(store.redis, 'bob'),
    (inbox) => inbox.filter((entry) => entry.channel === CHANNEL).length === 2,
  );
  const dead = await store.redis.xrange(keys.dead(other), '-', '+');
  expect(dead.map(([, fields]) => fields.join(' '))).toEqual([expect.stringContaining('WRONGTYPE')]);
});
