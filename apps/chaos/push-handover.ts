/**
 * Half of the users vanish under traffic: some say goodbye, some go with their gateway (SIGKILL), some lose their network
 * without a word. Each message to anyone must end acked by the device or in a push, and hardly any in both.
 *
 *     node apps/chaos/push-handover.ts [users] [messages per second] [seconds]      2000 200 40 by default
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { keyspace } from '../../lib/keyspace/index.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { startRedis } from '../../ops/redis/server.ts';
import { Phone, type Sent } from './phones.ts';

export interface HandoverOptions {
  users: number;
  perSecond: number;
  seconds: number;
  /** From the last message until everything must be decided. */
  settleMs: number;
  log?: (line: string) => void;
}

export interface HandoverReport {
  messages: number;
  acked: number;
  pushed: number;
  /** `<user> <message id>`: neither acked nor pushed. */
  neither: string[];
  pushes: number;
  /** Pushes whose latest message had been acked for a while. */
  wasted: number;
  /** The longest from `accepted` to the push, ms. */
  latestMs: number;
  /** How many vanished, by way. */
  vanished: Record<Way, number>;
}

type Way = 'goodbye' | 'killed' | 'silent';
const WAYS: readonly Way[] = ['goodbye', 'killed', 'silent'];
const PROXIES = 4;
/** Fewer than the new direct channels that one may begin in an hour. */
const PARTNERS = 8;
/** From an ack's leaving the phone to its being stored: batches of 100 ms, and a machine under load. */
const ACK_UNDERWAY_MS = 1000;
const keys = keyspace(16);

export async function runHandover(options: HandoverOptions): Promise<HandoverReport> {
  const { log = () => undefined } = options;
  const folder = temporaryFolder('handover');
  const redis = await startRedis();
  const fcm = await FcmStandIn.start();
  const archiveUrl = `sqlite:${join(folder, 'archive.sqlite')}`;
  const env = { PARTITIONS: '16', LIMIT_SENDS_PER_S: '1000', LIMIT_BURST: '1000', ...fcm.env };
  const deployment = new Deployment({ redisUrl: redis.url, archiveUrl, env });
  const proxies: TcpProxy[] = [];
  const phones: Phone[] = [];
  const store = new Redis(redis.url);
  try {
    const [steady, other, doomed] = await Promise.all(Array.from({ length: 3 }, () => deployment.start('gateway')));
    await deployment.start('fanout', 'archiver', 'presence', 'pusher');
    if (!steady || !other || !doomed) throw new Error('three gateways were to start');
    const { hostname: host, port } = new URL(other.address);
    for (let i = 0; i < PROXIES; i++) proxies.push(await TcpProxy.start(() => [{ host, port: Number(port) }]));

    // Even ones stay; odd ones vanish, in turn by each way.
    const sent: Sent[] = [];
    const silent: Phone[][] = proxies.map(() => []);
    const groups: Record<Way, Phone[]> = { goodbye: [], killed: [], silent: [] };
    const staying: Phone[] = [];
    for (let i = 0; i < options.users; i++) {
      const way = i % 2 === 0 ? undefined : WAYS[((i - 1) / 2) % WAYS.length];
      const proxy = way === 'silent' ? groups.silent.length % PROXIES : -1;
      const gateway = way === 'killed' ? doomed : i % 4 === 0 ? steady : other;
      const url = proxies[proxy] ? `ws://${proxies[proxy]?.address}/v1/ws` : gateway.webSocketUrl;
      const phone = new Phone(deployment, url, `user-${i}`, (message) => void sent.push(message));
      phones.push(phone);
      (way ? groups[way] : staying).push(phone);
      silent[proxy]?.push(phone);
    }
    await inBatches(phones, async (phone) => {
      await register(steady, deployment, phone.user);
      await phone.connect();
    });
    log(`${phones.length} phones are live`);

    await Promise.all([
      traffic(options, staying, phones),
      vanish(options, { groups, silent, proxies, doomed }).then(() => log('all that vanish have vanished')),
    ]);
    const endedAt = performance.now();
    for (;;) {
      const report = await judge(store, phones, sent, fcm);
      const pending = staying.reduce((sum, phone) => sum + phone.pending, 0);
      if ((report.neither.length === 0 && pending === 0) || performance.now() - endedAt > options.settleMs) {
        const vanished = { goodbye: groups.goodbye.length, killed: groups.killed.length, silent: groups.silent.length };
        return { ...report, vanished };
      }
      log(`${Math.round((performance.now() - endedAt) / 1000)} s: ${report.neither.length} neither acked nor pushed`);
      await sleep(2000); // the pace at which the store is asked: nothing tells of an ack or a push that is stored
    }
  } finally {
    for (const phone of phones) phone.end();
    store.disconnect();
    await deployment.stop();
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await fcm.stop();
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function inBatches(phones: readonly Phone[], work: (phone: Phone) => Promise<void>): Promise<void> {
  for (let i = 0; i < phones.length; i += 50) await Promise.all(phones.slice(i, i + 50).map(work));
}

async function register(gateway: MillraceProcess, deployment: Deployment, user: string): Promise<void> {
  const response = await fetch(`${gateway.address}/v1/devices/phone`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${deployment.token(user)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ platform: 'android', push_token: `token-of-${user}` }),
  });
  if (response.status !== 204) throw new Error(`the token of ${user}: ${response.status}`);
}

/** Those who stay write to a few each, so that everyone is written to. */
async function traffic({ perSecond, seconds }: HandoverOptions, senders: readonly Phone[], all: readonly Phone[]) {
  const started = performance.now();
  for (let n = 0; ; ) {
    const elapsed = performance.now() - started;
    for (const due = (Math.min(elapsed, seconds * 1000) / 1000) * perSecond; n < due; n++) {
      const s = n % senders.length;
      const round = Math.floor(n / senders.length) % PARTNERS;
      const to = all[(2 * s + 1 + 2 * round * (round % 2) + round) % all.length];
      if (to && to !== senders[s]) senders[s]?.send(to.user);
    }
    if (elapsed >= seconds * 1000) return;
    await sleep(20); // the pace of the traffic
  }
}

interface Cast {
  groups: Record<Way, Phone[]>;
  silent: Phone[][];
  proxies: readonly TcpProxy[];
  doomed: MillraceProcess;
}

/** At random times in the first two thirds of the traffic. */
async function vanish({ seconds }: HandoverOptions, { groups, silent, proxies, doomed }: Cast): Promise<void> {
  const sometime = () => sleep((0.05 + 0.6 * Math.random()) * seconds * 1000);
  const clean = groups.goodbye.map(async (phone) => {
    await sometime();
    phone.vanish(true);
  });
  const lost = proxies.map(async (proxy, i) => {
    await sometime();
    proxy.hold('up');
    proxy.hold('down');
    for (const phone of silent[i] ?? []) phone.vanish(false);
  });
  await sleep(0.25 * seconds * 1000);
  await doomed.kill('SIGKILL');
  for (const phone of groups.killed) phone.vanish(false);
  await Promise.all([...clean, ...lost]);
}

/**
 * What the store says is acked, what FCM got, and what is neither. A push covers as many of its user's messages, up to the
 * one it names, as it counts.
 */
async function judge(store: Redis, phones: readonly Phone[], sent: readonly Sent[], fcm: FcmStandIn) {
  const report = {
    messages: sent.length,
    acked: 0,
    pushed: 0,
    neither: [] as string[],
    pushes: 0,
    wasted: 0,
    latestMs: 0,
  };
  const acceptedAt = new Map(sent.map(({ id, acceptedAt: at }) => [id, at]));
  const expected = new Map<string, string[]>();
  for (const { to, id } of sent) expected.set(to, [...(expected.get(to) ?? []), id]);
  const pushesOf = Map.groupBy(fcm.received, ({ message }) => message.data?.user ?? '');
  for (const phone of phones) {
    const { user } = phone;
    const [inbox, record] = await Promise.all([
      store.xrange(keys.inbox(user), '-', '+'),
      store.hget(keys.devices(user), 'device:phone'),
    ]);
    const acked = record?.split(' ')[0] ?? ZERO;
    const offsets = new Map(phone.got);
    for (const [offset, fields] of inbox) {
      if (fields[1] === 'message' && fields[9] !== user) offsets.set(fields[7] ?? '', offset);
    }
    const inOrder = [...offsets].sort(([, a], [, b]) => compareIds(a, b)).map(([id]) => id);
    const woken = new Set<string>();
    for (const { message, at } of pushesOf.get(user) ?? []) {
      const { id = '', count = '1' } = message.data ?? {};
      const last = inOrder.indexOf(id);
      report.pushes++;
      for (const covered of inOrder.slice(Math.max(0, last + 1 - Number(count)), last + 1)) woken.add(covered);
      const ackedAt = phone.ackedAt.get(id);
      const reached = compareIds(offsets.get(id) ?? ZERO, acked) <= 0;
      if (reached && ackedAt !== undefined && at > ackedAt + ACK_UNDERWAY_MS) report.wasted++;
      report.latestMs = Math.max(report.latestMs, at - (acceptedAt.get(id) ?? at));
    }
    for (const id of expected.get(user) ?? []) {
      const offset = offsets.get(id);
      if (offset !== undefined && compareIds(offset, acked) <= 0) report.acked++;
      else if (woken.has(id)) report.pushed++;
      else report.neither.push(`${user} ${id}`);
    }
  }
  return report;
}

if (import.meta.main) {
  const [users = 2000, perSecond = 200, seconds = 40] = process.argv.slice(2).map(Number);
  const report = await runHandover({ users, perSecond, seconds, settleMs: 120_000, log: console.log });
  console.log({ ...report, neither: report.neither.length, examples: report.neither.slice(0, 5) });
  process.exit(report.neither.length === 0 && report.wasted < 0.01 * report.pushes ? 0 : 1);
}
