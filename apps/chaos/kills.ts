/**
 * Kills processes of each role with SIGKILL in the middle of traffic, starts each again at once, and says whether every
 * accepted message was shown by every device exactly once, in order, and archived exactly once; and whether receipts,
 * unread counts and presence are in the end what the users did.
 *
 *     node apps/chaos/kills.ts [seconds] [messages per second] [kills]      60 1000 30 by default
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { openArchive } from '../../lib/archive/index.ts';
import { MillraceClient } from '../../lib/client/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import { Deployment, type MillraceProcess, type ProcessRole } from '../../ops/deployment.ts';
import { type ProxyTarget, TcpProxy } from '../../ops/proxy.ts';
import { startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { Ledger, summary, type Verdict } from './ledger.ts';
import { Marks } from './marks.ts';

export interface KillOptions {
  seconds: number;
  perSecond: number;
  /** Spread evenly over the run, and over the roles. */
  kills: number;
  users: number;
  /** How long the end of the delivery may take after the last send. */
  settleMs: number;
  log?: (line: string) => void;
}

export interface KillReport {
  verdict: Verdict;
  /** Receipts, unread counts and ticks that do not say what the users did. */
  wrongMarks: string[];
  reads: number;
  /** Users who are connected, and read as offline. */
  offline: string[];
  kills: Record<(typeof ROLES)[number], number>;
  /** From the last accepted message until everything was shown, and archived. */
  shownAfterMs: number;
  archivedAfterMs: number;
}

const ROLES = ['gateway', 'fanout', 'archiver', 'presence', 'pusher'] as const satisfies readonly ProcessRole[];
const PROCESSES_PER_ROLE = 2;
const TICK_MS = 20;
const keys = keyspace(16);

interface Sender {
  client: MillraceClient;
  user: string;
  device: string;
  channels: string[];
}

export async function runKills(options: KillOptions): Promise<KillReport> {
  const { log = () => undefined } = options;
  const folder = mkdtempSync(join(tmpdir(), 'millrace-kills-'));
  const redis = await startRedis();
  const deployment = new Deployment({
    redisUrl: redis.url,
    archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}`,
    env: { LOG_LEVEL: 'info', PARTITIONS: String(keys.partitions) },
  });
  const running = new Map<ProcessRole, MillraceProcess[]>();
  const proxy = await TcpProxy.start(() => (running.get('gateway') ?? []).map(targetOf));
  const store = new Redis(redis.url);
  const ledger = new Ledger();
  const marks = new Marks();
  const senders: Sender[] = [];
  try {
    for (const role of ROLES) {
      const started = await Promise.all(Array.from({ length: PROCESSES_PER_ROLE }, () => deployment.start(role)));
      running.set(role, started);
    }
    await people(options.users, deployment, `http://${proxy.address}`, ledger, marks, senders);

    const kills: KillReport['kills'] = { gateway: 0, fanout: 0, archiver: 0, presence: 0, pusher: 0 };
    const killing = killAll(options, deployment, running, kills, log);
    await send(options, ledger, senders);
    await killing;

    await until(
      'all is accepted',
      options.settleMs,
      () => ledger.pending,
      (pending) => pending === 0,
    );
    const acceptedAt = performance.now();
    await until(
      'all is shown',
      options.settleMs,
      () => ledger.missing().slice(0, 5),
      (missing) => missing.length === 0,
    ).catch((error: Error) => log(error.message));
    const shownAfterMs = performance.now() - acceptedAt;

    marks.wrote(ledger.acceptances);
    const right = async (what: string, look: () => string[] | Promise<string[]>) => {
      await until(what, options.settleMs, look, (wrong) => wrong.length === 0).catch((error: Error) =>
        log(error.message),
      );
      return look();
    };
    const wrongMarks = [
      ...(await right('all ticks are right', () => marks.untold())),
      ...(await right('all receipts are right', () => marks.wrong(store, keys))),
    ];
    const presence = new PresenceVerbs(store, keys);
    const users = [...new Set(senders.map(({ user }) => user))];
    const offline = await right('all are online', async () => {
      const seen = await presence.presenceOf(users);
      return users.filter((_, i) => seen[i]?.status !== 'online');
    });

    const archive = await openArchive(`sqlite:${join(folder, 'archive.sqlite')}`, {
      logger: pino({ level: 'silent' }),
    });
    try {
      await until(
        'all is archived',
        options.settleMs,
        async () => (await ledger.notArchived(archive)).slice(0, 5),
        (missing) => missing.length === 0,
      ).catch((error: Error) => log(error.message));
      const archivedAfterMs = performance.now() - acceptedAt;
      const verdict = await ledger.verdict(archive);
      return { verdict, wrongMarks, reads: marks.reads, offline, kills, shownAfterMs, archivedAfterMs };
    } finally {
      await archive.close();
    }
  } finally {
    await Promise.all(senders.map(({ client }) => client.close({ timeoutMs: 1 })));
    await deployment.stop();
    await proxy.close();
    store.disconnect();
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each writes to the next two and into a group of eight neighbours; every fifth has a second device. */
async function people(
  count: number,
  deployment: Deployment,
  url: string,
  ledger: Ledger,
  marks: Marks,
  senders: Sender[],
) {
  const users = Array.from({ length: count }, (_, i) => `user-${String(i).padStart(3, '0')}`);
  const channelsOf = new Map(users.map((user) => [user, [] as string[]]));
  const name = (channel: string, members: string[]) => {
    ledger.channel(channel, members);
    marks.channel(channel, members);
    for (const user of members) channelsOf.get(user)!.push(channel);
  };
  for (const [i, user] of users.entries()) {
    for (const far of [1, 2]) {
      const pair = [user, users[(i + far) % count]!].sort();
      name(`dm:${pair.join(':')}`, pair);
    }
    for (const device of i % 5 === 0 ? ['phone', 'laptop'] : ['phone']) {
      const client = new MillraceClient({
        url,
        token: deployment.token(user),
        device,
        reconnectBaseMs: 200,
        reconnectCapMs: 2_000,
      });
      ledger.device(client, user, device);
      marks.device(client, user);
      senders.push({ client, user, device, channels: channelsOf.get(user)! });
    }
  }
  await Promise.all(senders.map(({ client }) => client.connect()));
  for (let i = 0; i < count; i += 8) {
    const members = users.slice(i, i + 8);
    const { client } = senders.find(({ user }) => user === members[0])!;
    if (members.length > 1) name((await client.createGroup({ title: `group ${i}`, members })).channel, members);
  }
  marks.look();
}

/** Open loop: what is due is sent, whatever the answers take. One in ten goes into a group. */
async function send({ seconds, perSecond }: KillOptions, ledger: Ledger, senders: readonly Sender[]): Promise<void> {
  const started = performance.now();
  for (let n = 0; ; ) {
    const elapsed = performance.now() - started;
    const due = (Math.min(elapsed, seconds * 1000) / 1000) * perSecond;
    for (; n < due; n++) {
      const { client, user, device, channels } = senders[n % senders.length]!;
      const groups = channels.filter((channel) => channel.startsWith('g:'));
      const direct = channels.filter((channel) => channel.startsWith('dm:'));
      const some = n % 10 === 9 && groups.length > 0 ? groups : direct;
      ledger.send(client, user, device, some[Math.floor(n / senders.length) % some.length]!);
    }
    if (elapsed >= seconds * 1000) return;
    await sleep(TICK_MS);
  }
}

async function killAll(
  { seconds, kills }: KillOptions,
  deployment: Deployment,
  running: Map<ProcessRole, MillraceProcess[]>,
  counts: KillReport['kills'],
  log: (line: string) => void,
): Promise<void> {
  const started = performance.now();
  const restarts: Promise<void>[] = [];
  for (let n = 0; n < kills; n++) {
    const at = ((n + 0.5) * seconds * 1000) / kills;
    await sleep(Math.max(0, at - (performance.now() - started)));
    const role = ROLES[n % ROLES.length]!;
    const living = running.get(role)!;
    const victim = living[Math.floor(Math.random() * living.length)];
    if (!victim) throw new Error(`no ${role} is running: kills come faster than restarts`);
    living.splice(living.indexOf(victim), 1);
    await victim.kill('SIGKILL');
    counts[role]++;
    log(`${(at / 1000).toFixed(1)} s: killed ${role} ${victim.pid}`);
    restarts.push(deployment.start(role).then((fresh) => void living.push(fresh)));
    // One of a role is always there: what is tested is a process that dies, not an outage of a whole role.
    await Promise.race([Promise.all(restarts), until('another lives', 20_000, () => living.length > 0)]);
  }
  await Promise.all(restarts);
}

function targetOf(process: MillraceProcess): ProxyTarget {
  const { hostname, port } = new URL(process.address);
  return { host: hostname, port: Number(port) };
}

if (import.meta.main) {
  const [seconds = 60, perSecond = 1000, kills = 30] = process.argv.slice(2).map(Number);
  const report = await runKills({ seconds, perSecond, kills, users: 80, settleMs: 120_000, log: console.log });
  console.table({ ...summary(report.verdict), reads: report.reads, ...report.kills });
  const others = [...report.wrongMarks, ...report.offline.map((user) => `${user} is offline`)];
  for (const line of others.slice(0, 10)) console.log(line);
  console.log(
    `shown ${Math.round(report.shownAfterMs)} ms after the last accepted, archived ${Math.round(report.archivedAfterMs)} ms`,
  );
  const { refused, lost, outOfOrder, shownTwice, strange, notArchived } = report.verdict;
  const wrong = [refused, lost, outOfOrder, shownTwice, strange, notArchived, others].some((list) => list.length > 0);
  process.exit(wrong ? 1 : 0);
}
