/**
 * What a message costs with two versions of the sources, so that a change which makes it dearer is noticed with that change:
 * each with a Redis of its own, in turns (`turns.ts`).
 */
import { lostIn, median, ratio, type Side, takeTurns } from './turns.ts';

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

/** The folders hold sources. */
export async function compare(
  before: string,
  after: string,
  say: (line: string) => void = () => undefined,
): Promise<Comparison> {
  const side = (name: string, root: string): Side => ({ name, options: { root }, users: USERS, rate: PER_S });
  const rounds = { count: ROUNDS, seconds: ROUND_S, warmS: WARM_S };
  const sides = await takeTurns([side('before', before), side('now', after)], rounds, say);
  const [was, is] = [sides[0]!, sides[1]!];
  const per = (figure: (part: Part) => number) =>
    Object.fromEntries(PARTS.map((part) => [part, figure(part)])) as Record<Part, number>;
  return {
    before: per((part) => median(was.turns.map(({ costs }) => costs[part]))),
    after: per((part) => median(is.turns.map(({ costs }) => costs[part]))),
    ratios: per((part) => ratio(was, is, ({ costs }) => costs[part])),
    rounds: is.turns.map(({ costs }, i) => costs.servers / was.turns[i]!.costs.servers),
    lost: lostIn(sides),
  };
}
