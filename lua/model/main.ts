/** `npm run model`: random schedules on the model, as many as you like; or a mutant of it, which must break a promise. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { MUTANTS, type Mutant } from './mutants.ts';
import { describe, search } from './run.ts';
import { STEPS } from './schedule.ts';

interface Options {
  schedules: number;
  seed: number;
  mutant?: Mutant;
}

const list = Object.entries(MUTANTS)
  .map(([name, does]) => `  ${name.padEnd(24)}${does}`)
  .join('\n');

const options = new Command('model')
  .description(
    `Runs random schedules of ${STEPS} steps on a model of the scripts, and judges each by what is promised.`,
  )
  .option('--schedules <n>', 'how many', whole, 100_000)
  .option('--seed <n>', 'of the first; the others follow', whole, 1)
  .addOption(new Option('--mutant <name>', 'break this rule first').choices(Object.keys(MUTANTS)))
  .addHelpText('after', `\nMutants:\n${list}`)
  .parse()
  .opts<Options>();

function whole(text: string): number {
  const n = Number(text);
  if (!Number.isSafeInteger(n) || n < 1) throw new InvalidArgumentError('a whole number from 1.');
  return n;
}

const started = performance.now();
const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
const { schedules, seed, mutant } = options;
const failure = search(schedules, seed, mutant, (done) => {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} schedules, ${seconds()} s `);
});
if (process.stderr.isTTY) process.stderr.write('\r');
console.log(
  failure ? describe(failure) : `${schedules} schedules from seed ${seed}: every promise held (${seconds()} s)`,
);
process.exitCode = failure ? 1 : 0;
