/** `npm run bench:peers`: Millrace and its peers under the same load, on the same machine, in turn. */
import { cpus } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { ensureRedis } from '../../../ops/redis/install.ts';
import { type PeerRow, rows } from './rows.ts';
import { systems } from './systems.ts';
import { markdownOf, type Sample, summarize, tableOf } from './table.ts';

interface Options {
  rows: PeerRow[];
  repetitions: number;
  seconds: number;
  patience: number;
  json?: true;
  markdown?: true;
}

const program = new Command('bench:peers')
  .description('Measures Millrace beside its peers: two server processes each, one Redis, one load generator.')
  .option('--rows <names>', 'which, with commas between them (all)', parseRows, [...rows])
  .option('--repetitions <n>', 'how often; in each, every system in turn', within(1, 100), 3)
  .option('--seconds <n>', 'how long to measure each load', within(2, 3600), 10)
  .option(
    '--patience <n>',
    'seconds to wait before each load for others to leave the machine alone',
    within(0, 3600),
    0,
  )
  .option('--json', 'print the figures as JSON, for a script')
  .option('--markdown', 'print the table as the README has it')
  .addHelpText('after', `\nRows:\n${rows.map(({ name, does }) => `  ${name.padEnd(12)}${does}`).join('\n')}`);

function parseRows(names: string): PeerRow[] {
  return names.split(',').map((name) => {
    const found = rows.find((row) => row.name === name.trim());
    if (!found) throw new InvalidArgumentError(`of ${rows.map((row) => row.name).join(',')}.`);
    return found;
  });
}

function within(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text === '' || !(value >= least && value <= most)) throw new InvalidArgumentError(`from ${least} to ${most}.`);
    return value;
  };
}

const options = program.parse().opts<Options>();
const say = (line: string) => void process.stderr.write(`${line}\n`);

ensureRedis(say);
const samples: Sample[] = [];
for (let repetition = 1; repetition <= options.repetitions; repetition++) {
  for (const row of options.rows) {
    for (const system of systems) {
      say(`${repetition}/${options.repetitions} ${row.name}, ${system.name}: ${row.does} …`);
      const figures = await row.run({
        system,
        seconds: options.seconds,
        patienceS: options.patience,
        say: (line) => say(`  ${line}`),
      });
      for (const figure of figures) samples.push({ row: row.name, system: system.name, ...figure });
      say(`  ${figures.map(({ what, value, unit }) => `${what} ${Math.round(value * 10) / 10} ${unit}`).join('; ')}`);
    }
  }
}

const summary = summarize(samples);
const machine = { cores: cpus().length, model: cpus()[0]?.model.trim(), node: process.version };
if (options.json) {
  process.stdout.write(`${JSON.stringify({ machine, repetitions: options.repetitions, summary }, null, 2)}\n`);
} else {
  const names = systems.map(({ name }) => name);
  const beside = Object.fromEntries(options.rows.map(({ name, without }) => [name, without]));
  const runs = options.repetitions === 1 ? 'one run' : `medians of ${options.repetitions} runs (least to most)`;
  process.stdout.write(`\n${machine.cores} cores (${machine.model}), Node ${machine.node}; ${runs}\n`);
  process.stdout.write(`${(options.markdown ? markdownOf : tableOf)(summary, names, beside)}\n`);
}
process.exit(0);
