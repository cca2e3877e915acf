/**
 * What a message costs in several settings, so that they can be compared: all are up all the time and take turns of a few
 * seconds under load. Whatever slows the machine down for longer than that slows all of them, and the median of the rounds'
 * ratios does not change when something else gets into one round. CPU of the processes is compared, and no time that passes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Load, LoadResult, Range } from './orders.ts';
import { type Costs, costsPer } from './report.ts';
import { Setting, type SettingOptions } from './setting.ts';
import { costBetween, snapshot } from './usage.ts';

export interface Side {
  name: string;
  options: SettingOptions;
  users: number;
  /** Messages a second, all together. */
  rate: number;
}

export interface Turn {
  costs: Costs;
  result: LoadResult;
}

export interface Turns {
  name: string;
  turns: Turn[];
  /** CPU a second with everybody connected and nobody writing, µs; it is part of each turn's cost. */
  rest: Costs;
}

export interface Rounds {
  /** Odd: the median is one of them. */
  count: number;
  seconds: number;
  /** Before them, until what runs often is compiled. */
  warmS: number;
  /** Without load, before them; 0: `rest` is not measured. */
  restS?: number;
}

/** A turn of each side in each round. */
export async function takeTurns(
  sides: readonly Side[],
  rounds: Rounds,
  say: (line: string) => void = () => undefined,
): Promise<Turns[]> {
  const up: (Side & Turns & { setting: Setting; range: Range })[] = [];
  try {
    for (const side of sides) {
      const setting = await Setting.start(side.options);
      const one = { ...side, setting, range: [0, 0] as Range, turns: [], rest: costsPer(1, {}) };
      up.push(one);
      one.range = await setting.connect(side.users);
    }
    for (const one of up) await turn(one, rounds.warmS);
    for (const one of rounds.restS ? up : []) {
      const before = snapshot(one.setting.pids);
      await sleep(rounds.restS! * 1000);
      const { seconds, cpu } = costBetween(before, snapshot(one.setting.pids));
      one.rest = costsPer(seconds, cpu);
    }
    for (let round = 0; round < rounds.count; round++) {
      // Who goes first alternates: nobody always follows the same one's load.
      for (const one of round % 2 === 0 ? up : up.toReversed()) one.turns.push(await turn(one, rounds.seconds));
      say(up.map(({ name, turns }) => `${name} ${turns[round]!.costs.servers.toFixed(0)} µs`).join(', '));
    }
    return up.map(({ name, turns, rest }) => ({ name, turns, rest }));
  } finally {
    for (const { setting } of up) {
      for (const death of setting.deaths) say(death);
      await setting.stop();
    }
  }
}

async function turn(
  { setting, range, rate }: Side & { setting: Setting; range: Range },
  seconds: number,
): Promise<Turn> {
  const load: Load = {
    target: { kind: 'direct', from: range },
    rate,
    warmS: 0,
    seconds,
    settle: 'received',
    settleS: 30,
  };
  const start = snapshot(setting.pids);
  const result = await setting.generator.obey({ order: 'load', load });
  const { cpu } = costBetween(start, snapshot(setting.pids));
  // To the last delivery, of whatever is late on a busy machine: no window cuts off a message or its cost.
  return { costs: costsPer(result.verdict.received, cpu), result };
}

/** Messages of all turns that were not accepted, or not delivered. */
export function lostIn(sides: readonly Turns[]): number {
  return sides
    .flatMap(({ turns }) => turns)
    .reduce((sum, { result: { verdict } }) => sum + verdict.lost + verdict.unanswered, 0);
}

/** The median of the rounds' ratios, to the first side's. */
export function ratio(to: Turns, of: Turns, figure: (turn: Turn) => number): number {
  return median(of.turns.map((turn, i) => figure(turn) / figure(to.turns[i]!)));
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
