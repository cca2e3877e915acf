/** `millrace plan`: what a number of people and messages takes. */
import Table from 'cli-table3';
import { type Command, InvalidArgumentError } from 'commander';
import { CHOSEN } from './plan-costs.ts';
import { type Demand, type Plan, plan } from './plan-model.ts';

type PlanOptions = Demand & { json?: true };

const GROUP_SIZE = 20;

export function registerPlan(program: Command): void {
  const command = program
    .command('plan')
    .description('What machines, memory and disk so many users and messages take, and what limits them.')
    .requiredOption('--users <n>', 'people who use it within a week', counted(1, 1e10))
    .requiredOption('--connections <n>', 'connections at once, at the peak', counted(0, 1e10))
    .requiredOption('--messages <n>', 'messages a second, at the peak', counted(1, 1e9))
    .option('--group-size <n>', 'members of a group', counted(2, 100_000), GROUP_SIZE)
    .option('--group-share <share>', 'of the messages, those that go into groups: 0 to 1', parseShare, 0)
    .option('--json', 'the plan as JSON')
    .addHelpText(
      'after',
      '\nExample: npm run -s millrace -- plan --users 10000000 --connections 2000000 --messages 11500 --group-share 0.1' +
        '\ndocs/scaling.md says where the figures come from.',
    );
  command.action((options: PlanOptions) => {
    if (options.connections > options.users * 10) {
      command.error('error: more than ten connections a user: are --users and --connections the right way round?', {
        exitCode: 2,
      });
    }
    const { json, ...demand } = options;
    const planned = plan(demand);
    console.log(json ? JSON.stringify({ demand, ...planned }, null, 2) : text(planned));
  });
}

function counted(least: number, most: number): (text: string) => number {
  return (text) => {
    const n = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(n) || n < least || n > most) {
      throw new InvalidArgumentError(`A whole number, ${least} to ${most}.`);
    }
    return n;
  };
}

function parseShare(text: string): number {
  const share = Number(text);
  if (text.trim() === '' || !(share >= 0 && share <= 1)) throw new InvalidArgumentError('A number from 0 to 1.');
  return share;
}

function text({ deliveriesPerS, partitions, parts, bottleneck }: Plan): string {
  const table = new Table({
    head: ['part', 'processes', 'machines', 'busy cores', 'memory', 'disk', 'limited by'],
    style: { head: [], border: [], compact: true },
  });
  for (const { part, count, machines, cores, memoryBytes, diskBytes, limitedBy } of parts) {
    table.push([part, count, machines, cores.toFixed(1), bytes(memoryBytes), bytes(diskBytes), limitedBy]);
  }
  const sum = (figure: 'machines' | 'memoryBytes' | 'diskBytes') => parts.reduce((all, part) => all + part[figure], 0);
  const { cores, memoryBytes, diskBytes } = CHOSEN.machine;
  return [
    `${Math.ceil(deliveriesPerS).toLocaleString('en')} deliveries a second; PARTITIONS=${partitions}`,
    table.toString(),
    `${sum('machines')} machines of ${cores} cores, ${bytes(memoryBytes)} and ${bytes(diskBytes)}, half full; ${bytes(sum('memoryBytes'))} of memory, ${bytes(sum('diskBytes'))} of disk, of which a year of history`,
    `Bottleneck: ${bottleneck}`,
  ].join('\n');
}

function bytes(n: number): string {
  if (n === 0) return '–';
  if (n >= 1e12) return `${(n / 1e12).toFixed(1)} TB`;
  return n >= 1e10 ? `${Math.round(n / 1e9)} GB` : `${(n / 1e9).toFixed(1)} GB`;
}
