/** `npm run bench`: starts the real processes, loads them, and says what a message costs and how long it takes. */
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { ensureRedis } from '../../ops/redis/install.ts';
import { profileOf, selfTimes } from './profile.ts';
import { costsOf, factTable, hopsTable, loadTable, reached, redisTable } from './report.ts';
import type { Outcome, Scenario } from './scenario.ts';
import { scenarios } from './scenarios.ts';

interface Options {
  scenario: Scenario[];
  seconds: number;
  patience: number;
  json?: true;
  profile?: string | true;
  strict?: true;
}

const names = scenarios.map(({ name, does }) => `  ${name.padEnd(14)}${does}`).join('\n');

const program = new Command('bench')
  .description('Measures Millrace on real processes: two gateways, fan-out and archiver, Redis, a load generator.')
  .option('--scenario <names...>', 'which (all)', parseScenario, [...scenarios])
  .option('--seconds <n>', 'how long to measure each load', parseSeconds, 15)
  .option('--patience <n>', 'seconds to wait before each load for others to leave the machine alone', parsePatience, 0)
  .option('--json', 'print the figures as JSON, for a script')
  .option('--profile [folder]', 'let the servers write CPU profiles there (bench-profiles), and show where time goes')
  .option('--strict', 'exit with 1 when a goal is not reached')
  .addHelpText('after', `\nScenarios:\n${names}`);

function parseScenario(name: string, before: Scenario[]): Scenario[] {
  const found = scenarios.find((scenario) => scenario.name === name);
  if (!found) throw new InvalidArgumentError(`one of ${scenarios.map((s) => s.name).join(', ')}.`);
  return before.length === scenarios.length ? [found] : [...before, found];
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 2 && seconds <= 3600)) throw new InvalidArgumentError('from 2 to 3600.');
  return seconds;
}

function parsePatience(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0)) throw new InvalidArgumentError('a number of seconds.');
  return seconds;
}

const options = program.parse().opts<Options>();
const say = (line: string) => void process.stderr.write(`${line}\n`);
const folder = options.profile === true ? 'bench-profiles' : options.profile;

ensureRedis(say);
const outcomes: (Outcome & { scenario: string })[] = [];
for (const { name, does, run } of options.scenario) {
  say(`${name}: ${does} …`);
  const started = performance.now();
  const profiles = folder === undefined ? {} : { profiles: join(folder, name) };
  const outcome = await run({
    scenario: name,
    seconds: options.seconds,
    patienceS: options.patience,
    ...profiles,
    say: (line) => say(`  ${line}`),
  });
  outcomes.push({ scenario: name, ...outcome });
  for (const { scenario, measured } of outcome.rows) {
    const costs = costsOf(measured);
    say(
      `  ${scenario}: ${Math.round(costs.servers)} µs a message (gateways ${Math.round(costs.gateways)}, workers ${Math.round(costs.workers)}, Redis ${Math.round(costs.redis)}; generator ${Math.round(costs.generator)})`,
    );
  }
  say(`  ${Math.round((performance.now() - started) / 1000)} s`);
  if (profiles.profiles) showProfiles(outcome, profiles.profiles);
}

const rows = outcomes.flatMap((outcome) => outcome.rows);
const facts = outcomes.flatMap((outcome) => outcome.facts);
if (options.json) {
  const machine = { cores: cpus().length, model: cpus()[0]?.model, node: process.version };
  const loads = rows.map(({ scenario, measured }) => ({ scenario, costs: costsOf(measured), ...measured }));
  process.stdout.write(`${JSON.stringify({ machine, facts, loads }, null, 2)}\n`);
} else {
  const machine = `${cpus().length} cores (${cpus()[0]?.model.trim()}), Node ${process.version}`;
  process.stdout.write(`\n${machine}; 500-byte messages, CPU of servers per delivered message\n`);
  if (rows.length > 0) process.stdout.write(`${loadTable(rows)}\n${hopsTable(rows)}\n${redisTable(rows)}\n`);
  process.stdout.write(`${factTable(facts)}\n`);
}
const missed = facts.filter(({ value, goal }) => goal && !reached(value, goal));
process.exit(options.strict && missed.length > 0 ? 1 : 0);

function showProfiles({ rows, pids }: Outcome, from: string): void {
  const measured = rows.at(-1)?.measured;
  if (!measured) return;
  const delivered = measured.result.window.received;
  for (const [name, pid] of Object.entries(pids)) {
    const profile = profileOf(from, pid);
    if (!profile) continue;
    say(`\n${name}, self time per delivered message:`);
    const times = selfTimes(profile, measured.window);
    const total = times.reduce((sum, time) => sum + time.micros, 0);
    say(`  ${(total / delivered).toFixed(1)} µs in all`);
    for (const time of times.slice(0, 30)) say(`  ${(time.micros / delivered).toFixed(2)} µs  ${time.name}`);
  }
}
