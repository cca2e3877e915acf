/**
 * What a message costs as a deployment grows: with more primaries, more gateways, more people connected. Where the rate of
 * each gateway and primary stays the same, so should the cost of a message.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { costsOf, costsPer, type Fact, type Row } from './report.ts';
import { always, direct, type Outcome, type Run, WARM_S, withSetting } from './scenario.ts';
import { lostIn, median, ratio, type Side, type Turns, takeTurns } from './turns.ts';
import { costBetween, snapshot } from './usage.ts';

/** Of each gateway. */
const USERS = 500;
const PER_S = 300;
/** Constant: at most so many percent more than the smallest's. */
const CONSTANT = 15;
/** Of a ratio. */
const percentMore = (ratio: number) => (ratio - 1) * 100;
const PARTS = ['servers', 'gateways', 'workers', 'redis'] as const;

/** One worker process for all: they are few messages for one. */
export async function primaries(run: Run): Promise<Outcome> {
  return grow(
    run,
    [1, 2, 3].map((n) => ({
      name: `${n} ${n === 1 ? 'primary' : 'primaries'}`,
      options: { primaries: n, gateways: n },
      users: n * USERS,
      rate: n * PER_S,
    })),
  );
}

export async function gateways(run: Run): Promise<Outcome> {
  return grow(
    run,
    [1, 2, 4].map((n) => ({
      name: `${n} ${n === 1 ? 'gateway' : 'gateways'}`,
      options: { gateways: n },
      users: n * USERS,
      rate: n * PER_S,
    })),
  );
}

async function grow({ scenario, seconds, say }: Run, sides: readonly Side[]): Promise<Outcome> {
  const turns = await takeTurns(sides, { count: 5, seconds: seconds / 3, warmS: 5, restS: 5 }, say);
  const facts = turns.flatMap((of) => sideFacts(scenario, of, turns[0]!));
  facts.push({ scenario, what: 'accepted messages lost', value: lostIn(turns), unit: '', goal: { atMost: 0 } });
  return { rows: [], facts, pids: {} };
}

function sideFacts(scenario: string, of: Turns, smallest: Turns): Fact[] {
  const cost = (part: (typeof PARTS)[number]) => median(of.turns.map(({ costs }) => costs[part]));
  const parts = PARTS.slice(1).map((part) => `${part} ${cost(part).toFixed(0)}`);
  const facts: Fact[] = [
    { scenario, what: `${of.name}: CPU per message (${parts.join(', ')})`, value: cost('servers'), unit: 'µs' },
    { scenario, what: `${of.name}: CPU at rest`, value: of.rest.servers / 1000, unit: 'ms/s' },
  ];
  if (of === smallest) return facts;
  const ratios = PARTS.map((part) => ratio(smallest, of, ({ costs }) => costs[part]));
  const [all, ...inParts] = ratios.map(percentMore) as [number, ...number[]];
  const told = PARTS.slice(1).map((part, i) => `${part} ${inParts[i]! > 0 ? '+' : ''}${inParts[i]!.toFixed(0)} %`);
  const what = `${of.name}: more than ${smallest.name} (${told.join(', ')})`;
  facts.push({ scenario, what, value: all, unit: '%', goal: { atMost: CONSTANT } });
  return facts;
}

/** As many as the most people need: the open-file limit of a process is 20,000 in many places. */
const GATEWAYS = 3;
const REST_S = 5;
const WRITERS = 1000;
const CONNECTED = [1000, 10_000, 50_000];

/** The same 1,000 write and read, at the same rate, so that only the number of connected users differs. */
export async function connected(run: Run): Promise<Outcome> {
  return withSetting(run, { gateways: GATEWAYS }, async (setting) => {
    const { scenario, say } = run;
    const rows: Row[] = [];
    const facts: Fact[] = [];
    const writers = await setting.connect(WRITERS);
    const load = direct(writers, WRITERS, run.seconds);
    await setting.generator.obey({ order: 'load', load: direct(writers, WRITERS, WARM_S) });
    let there = WRITERS;
    for (const all of CONNECTED) {
      const started = performance.now();
      await setting.crowd(all - there);
      if (all > there) say(`${all - there} more connected in ${Math.round((performance.now() - started) / 1000)} s`);
      there = all;
      const before = snapshot(setting.pids);
      await sleep(REST_S * 1000);
      const { seconds, cpu } = costBetween(before, snapshot(setting.pids));
      const rest = costsPer(seconds, cpu).servers;
      const measured = await setting.measure(load);
      rows.push({ scenario: `${all} connected`, measured });
      facts.push(...always(`${all} connected`, measured));
      facts.push({ scenario, what: `${all} connected: CPU at rest`, value: rest / 1000, unit: 'ms/s' });
      const value = percentMore(costsOf(measured).servers / costsOf(rows[0]!.measured).servers);
      const what = `${all} connected: CPU per message, more than with ${CONNECTED[0]}`;
      if (rows.length > 1) facts.push({ scenario, what, value, unit: '%', goal: { atMost: CONSTANT } });
    }
    return { rows, facts, pids: setting.pids };
  });
}
