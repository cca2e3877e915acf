/**
 * What a message costs with two versions of the sources, so that a change which makes it dearer is noticed with that change.
 *
 * Both versions are up all the time, each with a Redis of its own, and take turns of a few seconds: whatever slows the
 * machine down for longer than that slows both. The verdict is the median of the rounds' ratios, so that a round in which
 * something else got in between changes nothing. CPU of the processes is compared, and no time that passes.
 */
import type { Load, Range } from './orders.ts';
import { type Costs, costsPer } from './report.ts';
import { Setting } from './setting.ts';
import { costBetween, snapshot } from './usage.ts';

const USERS = 1000;
const PER_S = 2000;
/** Until what runs often is compiled. */
const WARM_S = 6;
/** Odd: the median is one of them. */
const ROUNDS = 9;
const ROUND_S = 2;

export const PARTS = ['servers', 'gateways', 'workers', 'redis'] as const;
export type Part = (typeof PARTS)[number];

export interface Comparison {
  /** Medians, CPU-microseconds per delivered message. */
  before: Record<Part, number>;
  after: Record<Part, number>;
  /** Median of the rounds' ratios, after to before; 1 where nothing changed. */
  ratios: Record<Part, number>;
  /** Of the servers' CPU, round by round. */
  rounds: number[];
  /** Messages that were not accepted, or not delivered, in either. */
  lost: number;
}

interface Side {
  setting: Setting;
  users: Range;
  costs: Costs[];
}

/** The folders hold sources. The sides take turns: neither is loaded while the other is measured. */
export async function compare(
  before: string,
  after: string,
  say: (line: string) => void = () => undefined,
): Promise<Comparison> {
  const sides: Side[] = [];
  let lost = 0;
  const turn = async ({ setting, users }: Side, seconds: number): Promise<Costs> => {
    const load: Load = {
      target: { kind: 'direct', from: users },
      rate: PER_S,
      warmS: 0,
      seconds,
      settle: 'received',
      settleS: 30,
    };
    const start = snapshot(setting.pids);
    const { verdict } = await setting.generator.obey({ order: 'load', load });
    const { cpu } = costBetween(start, snapshot(setting.pids));
    lost += verdict.lost + verdict.unanswered;
    // To the last delivery, of whatever is late on a busy machine: no window cuts off a message or its cost.
    return costsPer(verdict.received, cpu);
  };
  try {
    for (const root of [before, after]) {
      const setting = await Setting.start({ root });
      const side: Side = { setting, users: [0, 0], costs: [] };
      sides.push(side);
      side.users = await setting.connect(USERS);
    }
    const [first, second] = sides as [Side, Side];
    for (const side of sides) await turn(side, WARM_S);
    for (let round = 0; round < ROUNDS; round++) {
      // Who goes first alternates: neither always follows the other's load.
      for (const side of round % 2 === 0 ? [first, second] : [second, first]) {
        side.costs.push(await turn(side, ROUND_S));
      }
      const [was, is] = [first.costs[round]!.servers, second.costs[round]!.servers];
      say(`${was.toFixed(0)} and ${is.toFixed(0)} µs a message: × ${(is / was).toFixed(3)}`);
    }
    const per = (figure: (part: Part) => number) =>
      Object.fromEntries(PARTS.map((part) => [part, figure(part)])) as Record<Part, number>;
    const ratiosOf = (part: Part) => first.costs.map((was, i) => second.costs[i]![part] / was[part]);
    return {
      before: per((part) => median(first.costs.map((costs) => costs[part]))),
      after: per((part) => median(second.costs.map((costs) => costs[part]))),
      ratios: per((part) => median(ratiosOf(part))),
      rounds: ratiosOf('servers'),
      lost,
    };
  } finally {
    for (const { setting } of sides) {
      for (const death of setting.deaths) say(death);
      await setting.stop();
    }
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
