/** What a promise costs: the same load with it and without it, in turn. */
import type { Fact } from './report.ts';
import type { Outcome, Run } from './scenario.ts';
import { lostIn, median, ratio, type Side, type Turn, type Turns, takeTurns } from './turns.ts';

const USERS = 1000;
const PER_S = 1000;
const FIGURES: [name: string, of: (turn: Turn) => number, unit: string][] = [
  ['CPU of all servers per message', ({ costs }) => costs.servers, 'µs'],
  ['of it Redis', ({ costs }) => costs.redis, 'µs'],
  ['send to accepted p99', ({ result }) => result.accepted.p99, 'ms'],
  ['send to received p99', ({ result }) => result.received.p99, 'ms'],
];

/** A primary with two replicas; every message waits for one of them, or for none. Their CPU counts on both sides. */
export async function ackReplicas(run: Run): Promise<Outcome> {
  const side = (count: string): Side => ({
    name: `ACK_REPLICAS=${count}`,
    options: { replicas: 2, env: { ACK_REPLICAS: count } },
    users: USERS,
    rate: PER_S,
  });
  const { facts, without, with: one } = await compared(run, side('0'), side('1'));
  const { scenario } = run;
  const later = median(one.turns.map(({ result }, i) => result.accepted.p99 - without.turns[i]!.result.accepted.p99));
  facts.push(
    {
      scenario,
      what: 'more CPU',
      value: more(without, one, ({ costs }) => costs.servers),
      unit: '%',
      goal: { atMost: 25 },
    },
    { scenario, what: 'accepted p99, later by', value: later, unit: 'ms', goal: { atMost: 3 } },
  );
  return { rows: [], facts, pids: {} };
}

/** Clients that ack as the client library does, so that senders get receipts, and clients that never ack. */
export async function receipts(run: Run): Promise<Outcome> {
  const side = { users: USERS, rate: PER_S };
  const {
    facts,
    without,
    with: acked,
  } = await compared(
    run,
    { ...side, name: 'no acks', options: { silent: true } },
    { ...side, name: 'acks and receipts', options: {} },
  );
  const { scenario } = run;
  facts.push(
    {
      scenario,
      what: 'more CPU of Redis',
      value: more(without, acked, ({ costs }) => costs.redis),
      unit: '%',
      goal: { atMost: 30 },
    },
    { scenario, what: 'more CPU of all servers', value: more(without, acked, ({ costs }) => costs.servers), unit: '%' },
  );
  return { rows: [], facts, pids: {} };
}

async function compared({ scenario, seconds, say }: Run, ...sides: [Side, Side]) {
  const turns = await takeTurns(sides, { count: 7, seconds: seconds / 3, warmS: 5 }, say);
  const facts = turns.flatMap((side) =>
    FIGURES.map(
      ([what, of, unit]): Fact => ({
        scenario,
        what: `${side.name}: ${what}`,
        value: median(side.turns.map(of)),
        unit,
      }),
    ),
  );
  facts.push({ scenario, what: 'accepted messages lost', value: lostIn(turns), unit: '', goal: { atMost: 0 } });
  return { facts, without: turns[0]!, with: turns[1]! };
}

/** Percent. */
function more(without: Turns, withIt: Turns, figure: (turn: Turn) => number): number {
  return (ratio(without, withIt, figure) - 1) * 100;
}
