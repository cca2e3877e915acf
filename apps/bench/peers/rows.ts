/** What is compared, each figure on a setting of its own, with what the peer's figure does not include. */
import { setTimeout as sleep } from 'node:timers/promises';
import { residentBytes } from '../../../ops/resident.ts';
import type { Load, Range } from '../orders.ts';
import { costsOf } from '../report.ts';
import { type Measured, Setting } from '../setting.ts';
import type { System } from './systems.ts';

export interface Figure {
  what: string;
  value: number;
  unit: string;
}

export interface RowRun {
  system: System;
  /** Of the measured window. */
  seconds: number;
  patienceS: number;
  say(line: string): void;
}

export interface PeerRow {
  name: string;
  does: string;
  /** What the peer does not promise here, and where it says so. */
  without: string;
  run(run: RowRun): Promise<Figure[]>;
}

const USERS = 2000;
const WARM_S = 3;
const RATES = [2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000, 12_000, 14_000, 17_000, 20_000];
/** More than this share of what was asked for is not delivered any more: faster only makes the queue longer. */
const SATURATED = 0.8;
const CROWDS = [5000, 15_000];
/** Connected before memory is looked at, so that the code is warm. */
const FIRST_CONNECTIONS = 500;
const MISSED = 20;

async function withSetting<T>(run: RowRun, work: (setting: Setting) => Promise<T>): Promise<T> {
  const { peer } = run.system;
  const setting = await Setting.start({ ...(peer ? { peer } : {}), patienceS: run.patienceS });
  try {
    return await work(setting);
  } finally {
    for (const death of setting.deaths) run.say(death);
    await setting.stop();
  }
}

function direct(from: Range, rate: number, seconds: number, more: Partial<Load> = {}): Load {
  return { target: { kind: 'direct', from }, rate, warmS: WARM_S, seconds, settle: 'received', settleS: 15, ...more };
}

function kept({ result: { verdict } }: Measured): Figure[] {
  return [
    { what: 'acknowledged and never received', value: verdict.lost, unit: '' },
    { what: 'received twice', value: verdict.duplicates, unit: '' },
  ];
}

function costs(measured: Measured, per: string): Figure[] {
  const { servers, redis, generator } = costsOf(measured);
  return [
    { what: `CPU per ${per}`, value: servers, unit: 'µs' },
    { what: 'of it server processes', value: servers - redis, unit: 'µs' },
    { what: 'of it Redis', value: redis, unit: 'µs' },
    { what: '(load generator, not included)', value: generator, unit: 'µs' },
  ];
}

function latency({ result: { received } }: Measured): Figure[] {
  return [
    { what: 'received p50', value: received.p50, unit: 'ms' },
    { what: 'received p99', value: received.p99, unit: 'ms' },
  ];
}

function oneToOne(rate: number): PeerRow['run'] {
  return (run) =>
    withSetting(run, async (setting) => {
      const measured = await setting.measure(direct(await setting.connect(USERS), rate, run.seconds));
      return [...costs(measured, 'delivered message'), ...latency(measured), ...kept(measured)];
    });
}

/** 10,000 deliveries a second, whatever the size. */
function groups(size: number): PeerRow['run'] {
  return (run) =>
    withSetting(run, async (setting) => {
      await setting.connect(USERS);
      const made: { channel: string; members: Range }[] = [];
      for (let from = 0; from < USERS; from += size) {
        const members: Range = [from, from + size];
        made.push({ channel: await setting.createGroup(members), members });
      }
      const measured = await setting.measure({
        target: { kind: 'groups', groups: made },
        rate: 10_000 / (size - 1),
        warmS: WARM_S,
        seconds: run.seconds,
        settle: 'received',
        settleS: 15,
      });
      return [...costs(measured, 'recipient'), ...latency(measured), ...kept(measured)];
    });
}

/**
 * Faster and faster, until more is not delivered or something is lost. The limit is the fastest step that passes: a hiccup
 * of the machine at a slower one is not the system's.
 */
async function limit(run: RowRun): Promise<Figure[]> {
  return withSetting(run, async (setting) => {
    const users = await setting.connect(USERS);
    let inTime = 0;
    let whole = 0;
    let lost = 0;
    for (const rate of RATES) {
      const { result } = await setting.measure(direct(users, rate, Math.max(3, run.seconds / 2), { warmS: 2 }));
      const { verdict, received, window } = result;
      const perSecond = window.received / window.seconds;
      run.say(
        `${rate}/s: ${Math.round(perSecond)}/s, p99 ${Math.round(received.p99)} ms, ${verdict.lost} lost, ${verdict.unanswered} unanswered`,
      );
      lost += verdict.lost;
      if (lost > 0) break;
      if (received.p99 <= 200) inTime = Math.max(inTime, perSecond);
      whole = Math.max(whole, perSecond);
      if (perSecond < rate * SATURATED) break;
    }
    return [
      { what: 'delivered with p99 ≤ 200 ms', value: inTime, unit: '/s' },
      { what: 'delivered up to the first lost message', value: whole, unit: '/s' },
      { what: 'lost in the step after', value: lost, unit: '' },
    ];
  });
}

/** Of the server processes: what Redis keeps of a connection is small in both. */
async function idle(run: RowRun): Promise<Figure[]> {
  return withSetting(run, async (setting) => {
    const resident = () => setting.gateways.reduce((sum, { pid }) => sum + residentBytes(pid), 0);
    await setting.connect(FIRST_CONNECTIONS);
    const empty = await lowest(resident);
    const figures: Figure[] = [];
    let connected = FIRST_CONNECTIONS;
    for (const crowd of CROWDS) {
      await setting.connect(crowd - connected);
      connected = crowd;
      const bytes = (await lowest(resident)) - empty;
      figures.push({
        what: `resident per connection, ${crowd.toLocaleString('en')}`,
        value: bytes / 1024 / (crowd - FIRST_CONNECTIONS),
        unit: 'KiB',
      });
    }
    return figures;
  });
}

/** Once it has stopped falling for six seconds, at the latest after 20 s. */
async function lowest(bytes: () => number): Promise<number> {
  let least = bytes();
  let calm = 0;
  for (let waited = 0; waited < 20 && calm < 6; waited++) {
    await sleep(1000);
    const now = bytes();
    calm = now < least * 0.995 ? 0 : calm + 1;
    least = Math.min(least, now);
  }
  return least;
}

async function storm(run: RowRun): Promise<Figure[]> {
  return withSetting(run, async (setting) => {
    const { generator } = setting;
    const away = await setting.connect(USERS);
    const senders = await setting.connect(200);
    // A place to come back to: who never received anything has none in Socket.IO.
    await generator.obey({ order: 'load', load: direct(away, 2000, 1) });
    await generator.obey({ order: 'leave', clients: away });
    await sleep(2000);
    const load = direct(senders, 2000, (USERS * MISSED) / 2000, { warmS: 0, settle: 'accepted', settleS: 30 });
    await generator.obey({
      order: 'load',
      load: { ...load, target: { kind: 'direct', from: senders, to: away } },
    });
    await stored(setting);
    const { upMs, completeMs, complete, verdict } = await generator.obey({
      order: 'return',
      clients: away,
      timeoutS: 15,
    });
    return [
      { what: 'all connected', value: upMs / 1000, unit: 's' },
      { what: 'all complete', value: complete ? completeMs / 1000 : Number.NaN, unit: 's' },
      { what: 'of the missed ones received', value: (1 - verdict.lost / verdict.expected) * 100, unit: '%' },
      { what: 'acknowledged and never received', value: verdict.lost, unit: '' },
      { what: 'sessions not recovered', value: verdict.gaps, unit: `of ${USERS}` },
    ];
  });
}

/** Until Redis is asked to write no more. */
async function stored(setting: Setting): Promise<void> {
  const writes = async () => {
    const { commands, metrics } = await setting.counts();
    return (commands.xadd?.calls ?? 0) + (metrics.millrace_inbox_writes_total ?? 0);
  };
  for (let last = -1, now = await writes(); now !== last; now = await writes()) {
    last = now;
    await sleep(1000);
  }
}

async function kill(run: RowRun): Promise<Figure[]> {
  return withSetting(run, async (setting) => {
    const users = await setting.connect(USERS);
    const seconds = Math.max(8, run.seconds);
    const measured = await setting.measure(direct(users, 1000, seconds), async () => {
      await sleep((seconds * 1000) / 2);
      await setting.gateways[1]!.kill('SIGKILL');
    });
    const { verdict, received } = measured.result;
    return [
      ...kept(measured),
      { what: 'sends without an answer', value: verdict.unanswered, unit: '' },
      { what: 'clients that came back', value: verdict.reconnects, unit: '' },
      { what: 'sessions not recovered', value: verdict.gaps, unit: '' },
      { what: 'longest from send to receipt', value: received.max, unit: 'ms' },
    ];
  });
}

const NO_INBOX =
  'no durable inbox and no history: the stream keeps about the last 10,000 events of all users ' +
  '(https://socket.io/docs/v4/redis-streams-adapter, maxLen); no acks by recipients, no receipts, no removal of duplicates';

export const rows: readonly PeerRow[] = [
  { name: 'one-1000', does: 'one to one at 1,000/s', without: NO_INBOX, run: oneToOne(1000) },
  {
    name: 'one-3000',
    does: 'one to one at 3,000/s',
    without:
      'the same; the sender is answered before Redis has the message, and not told if it never does ' +
      '(socket.io-adapter, ClusterAdapter.broadcast)',
    run: oneToOne(3000),
  },
  {
    name: 'limit',
    does: 'one to one, faster and faster',
    without:
      'no back-pressure: a server that falls more than maxLen behind goes on after what was trimmed, and tells nobody ' +
      '(@socket.io/redis-streams-adapter, XADD with MAXLEN, startPolling)',
    run: limit,
  },
  {
    name: 'group-100',
    does: 'groups of 100 at 10,000 deliveries/s',
    without:
      'membership is of connections, in memory, and gone with them unless recovered (https://socket.io/docs/v4/rooms); no order or number per group',
    run: groups(100),
  },
  { name: 'group-500', does: 'groups of 500 at 10,000 deliveries/s', without: 'the same', run: groups(500) },
  {
    name: 'idle',
    does: 'memory of idle, authenticated connections',
    without: 'nothing is kept for the user once the recovery window is over',
    run: idle,
  },
  {
    name: 'storm',
    does: '2,000 clients come back at once with 20 missed messages each',
    without:
      'recovery "will not always be successful" (https://socket.io/docs/v4/connection-state-recovery): not after 2 minutes, ' +
      'not when the stream no longer has the last event received, not on a first connection',
    run: storm,
  },
  {
    name: 'kill',
    does: 'one of two servers killed in the middle of 1,000/s',
    without:
      'a session is stored when its server notices the disconnection: a killed server stores none, so nobody on it recovers; ' +
      'for more, the application is to keep messages in a database (https://socket.io/docs/v4/delivery-guarantees)',
    run: kill,
  },
];
