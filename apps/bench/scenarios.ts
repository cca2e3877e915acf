/** What is measured, each on a setting of its own, with the goal that its figures have. */
import { setTimeout as sleep } from 'node:timers/promises';
import { residentBytes } from '../../ops/resident.ts';
import { archive } from './archive.ts';
import { crowd } from './crowd.ts';
import { drain } from './drain.ts';
import { failover } from './failover.ts';
import { floor } from './floor.ts';
import { connected, gateways, primaries } from './growth.ts';
import { memory } from './memory.ts';
import type { Range } from './orders.ts';
import { ackReplicas, receipts } from './prices.ts';
import { countsBetween } from './probe.ts';
import { costsOf, type Fact, type Row } from './report.ts';
import { always, direct, type Outcome, type Run, type Scenario, WARM_S, withSetting } from './scenario.ts';
import { storm } from './storm.ts';

const USERS = 2000;

function oneToOne(rate: number, goals: { all?: number; redis?: number; p99?: number }): Scenario['run'] {
  return (run) =>
    withSetting(run, {}, async (setting) => {
      const { scenario } = run;
      const users = await setting.connect(USERS);
      const measured = await setting.measure(direct(users, rate, run.seconds));
      const costs = costsOf(measured);
      const facts = always(scenario, measured);
      const add = (what: string, value: number, unit: string, atMost: number | undefined) =>
        facts.push({ scenario, what, value, unit, ...(atMost === undefined ? {} : { goal: { atMost } }) });
      add('CPU of all servers per message', costs.servers, 'µs', goals.all);
      add('of it Redis', costs.redis, 'µs', goals.redis);
      add('received p99', measured.result.received.p99, 'ms', goals.p99);
      add('generator per message', costs.generator, 'µs', 80);
      return { rows: [{ scenario, measured }], facts, pids: setting.pids };
    });
}

async function ramp(run: Run): Promise<Outcome> {
  return withSetting(run, {}, async (setting) => {
    const { scenario } = run;
    const users = await setting.connect(USERS);
    const rows: Row[] = [];
    const facts: Fact[] = [];
    let limit = 0;
    for (const rate of [2000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000, 12_000, 14_000]) {
      const load = direct(users, rate, Math.max(5, run.seconds / 2), { warmS: 2, settleS: 30 });
      const measured = await setting.measure(load);
      rows.push({ scenario: `ramp ${rate}/s`, measured });
      const { received, verdict, window } = measured.result;
      const perSecond = window.received / window.seconds;
      run.say(
        `${rate}/s: ${Math.round(perSecond)}/s delivered, p99 ${Math.round(received.p99)} ms, ${verdict.lost} lost`,
      );
      if (verdict.lost > 0 || verdict.duplicates > 0) facts.push(...always(`ramp ${rate}/s`, measured));
      if (received.p99 > 200 || verdict.lost > 0 || verdict.unanswered > 0) break;
      limit = perSecond;
    }
    facts.push({ scenario, what: 'limit with p99 ≤ 200 ms', value: limit, unit: '/s', goal: { atLeast: 5000 } });
    const lost = rows.reduce((sum, row) => sum + row.measured.result.verdict.lost, 0);
    facts.push({
      scenario,
      what: 'accepted messages lost, beyond the limit too',
      value: lost,
      unit: '',
      goal: { atMost: 0 },
    });
    return { rows, facts, pids: setting.pids };
  });
}

/** 10,000 deliveries a second, whatever the size. */
function groups(size: number): Scenario['run'] {
  return (run) =>
    withSetting(run, {}, async (setting) => {
      const { scenario } = run;
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
      const value = costsOf(measured).servers;
      const facts = always(scenario, measured);
      facts.push({ scenario, what: 'CPU per recipient', value, unit: 'µs', goal: { atMost: 40 } });
      return { rows: [{ scenario, measured }], facts, pids: setting.pids };
    });
}

async function idle(run: Run): Promise<Outcome> {
  return withSetting(run, { gateways: 1 }, async (setting) => {
    const { scenario } = run;
    const { pid } = setting.gateways[0]!;
    await setting.connect(200);
    const empty = await settled(pid);
    await setting.connect(800);
    const first = await settled(pid);
    await setting.connect(9000);
    const right = residentBytes(pid);
    const last = await settled(pid);
    run.say(`resident: ${mib(empty)} with 200, ${mib(first)} with 1,000, ${mib(right)} then ${mib(last)} with 10,000`);
    const kib = (bytes: number) => bytes / 1024;
    const facts: Fact[] = [
      {
        scenario,
        what: 'resident per connection, 200 to 10,000',
        value: kib((last - empty) / 9800),
        unit: 'KiB',
        goal: { atMost: 14 },
      },
      { scenario, what: 'resident per connection, 1,000 to 10,000', value: kib((last - first) / 9000), unit: 'KiB' },
    ];
    return { rows: [], facts, pids: setting.pids };
  });
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

/** Resident memory once it has stopped falling, at the latest after 40 s. */
async function settled(pid: number): Promise<number> {
  let lowest = residentBytes(pid);
  let since = 0;
  for (let waited = 0; waited < 40 && since < 12; waited += 2) {
    await sleep(2000);
    const now = residentBytes(pid);
    since = now < lowest * 0.995 ? 0 : since + 2;
    lowest = Math.min(lowest, now);
  }
  return lowest;
}

async function kill(run: Run): Promise<Outcome> {
  return withSetting(run, {}, async (setting) => {
    const { scenario } = run;
    const users = await setting.connect(USERS);
    const seconds = Math.max(16, run.seconds);
    const measured = await setting.measure(direct(users, 1000, seconds, { settleS: 30 }), async () => {
      await sleep((seconds * 1000) / 2);
      run.say('killing a gateway');
      await setting.gateways[1]!.kill('SIGKILL');
    });
    const { verdict } = measured.result;
    const facts = always(scenario, measured);
    facts.push(
      { scenario, what: 'clients that came back', value: verdict.reconnects, unit: '' },
      { scenario, what: 'sends without an answer', value: verdict.unanswered, unit: '', goal: { atMost: 0 } },
      { scenario, what: 'longest from send to receipt', value: measured.result.received.max, unit: 'ms' },
    );
    return { rows: [{ scenario, measured }], facts, pids: setting.pids };
  });
}

async function rush(run: Run): Promise<Outcome> {
  return withSetting(run, { gateways: 1 }, async (setting) => ({
    rows: [],
    facts: await crowd(setting, run.scenario, run.say),
    pids: setting.pids,
  }));
}

/** What presence costs: commands of Redis, those inside scripts counted too, with 10,000 users on one gateway alone. */
async function presence(run: Run): Promise<Outcome> {
  return withSetting(run, { gateways: 1, workers: [] }, async (setting) => {
    const { scenario } = run;
    const [from] = await setting.connect(10_000);
    const facts: Fact[] = [];
    const count = async (what: string, atMost: number | undefined, work: () => Promise<void>) => {
      const before = await setting.counts();
      const started = performance.now();
      await work();
      const seconds = (performance.now() - started) / 1000;
      const { commands } = countsBetween(before, await setting.counts());
      const calls = Object.entries(commands).filter(([name]) => name !== 'info');
      const goal = atMost === undefined ? {} : { goal: { atMost } };
      const sum = (of: typeof calls, figure: 'calls' | 'micros') => of.reduce((all, [, c]) => all + c[figure], 0);
      // Scripts count what they call in their own time.
      const top = calls.filter(([name]) => /^(evalsha|eval|xread)$/.test(name));
      facts.push(
        { scenario, what: `${what}: Redis commands`, value: sum(calls, 'calls') / seconds, unit: '/s', ...goal },
        { scenario, what: `${what}: of them scripts and reads`, value: sum(top, 'calls') / seconds, unit: '/s' },
        { scenario, what: `${what}: Redis CPU in them`, value: sum(top, 'micros') / seconds / 1000, unit: 'ms/s' },
      );
      const most = calls.sort(([, a], [, b]) => b.calls - a.calls).slice(0, 8);
      run.say(`${what}: ${most.map(([name, c]) => `${name} ${(c.calls / seconds).toFixed(1)}/s`).join(', ')}`);
    };
    await sleep(32_000); // the sweep under way when the last came knows only those before
    await count('idle', 50, () => sleep(run.seconds * 1000));
    await count('1 % a second come and go', undefined, async () => {
      for (let second = 0; second < run.seconds; second++) {
        const next = performance.now() + 1000;
        const clients: Range = [from + second * 100, from + (second + 1) * 100];
        await setting.generator.obey({ order: 'leave', clients });
        await setting.generator.obey({ order: 'return', clients, timeoutS: 10 });
        await sleep(Math.max(0, next - performance.now()));
      }
    });
    return { rows: [], facts, pids: setting.pids };
  });
}

export const scenarios: readonly Scenario[] = [
  { name: 'one-1000', does: 'one to one at 1,000/s', run: oneToOne(1000, { all: 578, p99: 10 }) },
  { name: 'one-3000', does: 'one to one at 3,000/s', run: oneToOne(3000, { all: 340, redis: 90 }) },
  { name: 'ramp', does: 'one to one, faster and faster, until p99 is above 200 ms', run: ramp },
  { name: 'group-100', does: 'groups of 100 at 10,000 deliveries/s', run: groups(100) },
  { name: 'group-500', does: 'groups of 500 at 10,000 deliveries/s', run: groups(500) },
  { name: 'idle', does: 'memory of 10,000 idle connections on one gateway', run: idle },
  { name: 'memory', does: 'memory of Redis per user, by what became of them, and per message', run: memory },
  { name: 'archive', does: 'CPU and disk of a Cassandra per row', run: archive },
  { name: 'presence', does: 'what 10,000 idle users ask of Redis, and 1 % of them coming and going', run: presence },
  { name: 'connected', does: '1,000/s among 1,000 users, with 1,000, 10,000 and 50,000 connected', run: connected },
  { name: 'primaries', does: 'clusters of 1, 2 and 3 primaries, with as many gateways, at 300/s each', run: primaries },
  { name: 'gateways', does: '1, 2 and 4 gateways at 300/s each', run: gateways },
  { name: 'ack-replicas', does: 'what ACK_REPLICAS=1 costs, at 1,000/s', run: ackReplicas },
  { name: 'receipts', does: 'what acks and receipts cost, at 1,000/s', run: receipts },
  { name: 'floor', does: 'what Redis takes for the bare writes of a message', run: floor },
  { name: 'drain', does: 'how fast the archiver catches up with Cassandra', run: drain },
  {
    name: 'storm',
    does: '2,000 clients come back at once with 20 missed messages each',
    run: storm(2000, { last: 2000, first: 2000 }),
  },
  { name: 'storm-10000', does: 'the same with 10,000', run: storm(10_000, { last: 5000 }) },
  {
    name: 'crowd',
    does: '10,000 clients at once on one gateway with 200 live sessions: connect, leave, come back',
    run: rush,
  },
  { name: 'kill', does: 'one gateway killed in the middle of 1,000/s', run: kill },
  {
    name: 'failover',
    does: 'a primary of a cluster killed under load, with ACK_REPLICAS=1',
    run: failover({ primaries: 3, replicas: 2 }),
  },
  {
    name: 'failover-sentinel',
    does: 'the same with one primary that Sentinels watch',
    run: failover({ replicas: 2, sentinels: 3 }),
  },
];
