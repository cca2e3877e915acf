/** `npm run chaos`: breaks what can break under a running system, and says whether it kept its promises. */
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { type Before, sourcesBefore } from '../../ops/before.ts';
import { ensureRedis } from '../../ops/redis/install.ts';
import { canBeDone, FAULTS, type Fault } from './faults/index.ts';
import type { Mutant } from './mutants/mutant.ts';
import { MUTANTS } from './mutants/mutants.ts';
import { overlay } from './mutants/overlay.ts';
import { shortRun } from './mutants/try.ts';
import { ARCHIVES, type ArchiveKind, SHORT_FUZZ } from './run/arena.ts';
import { removeLeftDisks } from './run/disk.ts';
import { KEPT_BRIEFLY, memoryRows } from './run/memory.ts';
import { jsonOf, linesOf, memoryTableOf, tableOf } from './run/report.ts';
import { run } from './run/run.ts';
import { TOPOLOGIES, type Topology } from './run/store.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

interface Options {
  seconds: number;
  messages?: number;
  messagesEach?: number;
  seed: number;
  faults: 'all' | Fault[];
  topology: Topology;
  archive: ArchiveKind;
  rate: number;
  users: number;
  ackReplicas?: number;
  mutant?: Mutant;
  earlier?: string;
  frames: number;
  requests: number;
  memory?: true;
  json?: true;
}

const names = FAULTS.map(({ name, does, topologies, archives }) => {
  const only = [...(topologies ?? []), ...(archives ?? [])];
  return `  ${name.padEnd(18)}${does}${only.length > 0 ? ` (${only.join(', ')} only)` : ''}`;
}).join('\n');

const mutants = MUTANTS.map(
  ({ name, does, fault }) => `  ${name.padEnd(22)}${does}${fault ? ` (with ${fault})` : ''}`,
).join('\n');

const program = new Command('chaos')
  .description(
    'Runs Millrace as real processes, lets people write to each other, lets faults happen, and judges from a ledger whether every promise was kept. Exits with 1 when one was not.',
  )
  .option('--seconds <n>', 'how long people write', number(10, 86_400), 600)
  .option('--messages <n>', 'go on until so many are accepted', number(1, 1e9))
  .option(
    '--messages-each <n>',
    'go on with each fault alone until so many are accepted; 0: mixes only',
    number(0, 1e9),
  )
  .option('--seed <n>', 'of all that is random; a random one without it', number(0, 0xffffffff))
  .option('--faults <a,b>', 'which, none, or all that can be done', parseFaults, 'all')
  .addOption(new Option('--topology <name>', 'of Redis').choices(TOPOLOGIES).default('standalone'))
  .addOption(new Option('--archive <name>', 'where history goes').choices(ARCHIVES).default('sqlite'))
  .option('--rate <n>', 'writes a second', number(1, 100_000), 500)
  .option('--users <n>', 'how many people', number(12, 10_000), 60)
  .option(
    '--ack-replicas <n>',
    'ACK_REPLICAS of the deployment, instead of what the faults need to lose nothing',
    number(0, 2),
  )
  .option('--mutant <name>', 'a fault planted in the product, which the verdict has to find', parseMutant)
  .option('--earlier <commit>', 'the version that two-versions runs beside the present one; the one before it without')
  .option('--frames <n>', 'mutated frames in each strike of fuzz', number(1, 1e8), SHORT_FUZZ.frames)
  .option('--requests <n>', 'mutated HTTP requests in each strike of fuzz', number(1, 1e8), SHORT_FUZZ.requests)
  .option('--memory', 'without faults: watch the memory of all processes and of Redis, and judge whether it stays')
  .option('--json', 'print the outcome as JSON, for a script')
  .addHelpText('after', `\nFaults:\n${names}\n\nMutants:\n${mutants}`);

function number(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(Number.isInteger(value) && value >= least && value <= most)) {
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

function parseMutant(text: string): Mutant {
  const mutant = MUTANTS.find(({ name }) => name === text);
  if (!mutant) throw new InvalidArgumentError(`one of ${MUTANTS.map(({ name }) => name).join(', ')}.`);
  return mutant;
}

function parseFaults(text: string): 'all' | Fault[] {
  if (text === 'all') return 'all';
  if (text === 'none') return [];
  return text.split(',').map((name) => {
    const fault = FAULTS.find((candidate) => candidate.name === name.trim());
    if (!fault) throw new InvalidArgumentError(`all, or some of ${FAULTS.map((f) => f.name).join(', ')}.`);
    return fault;
  });
}

function whyNot(before: Before): string {
  if ('same' in before) return `servers run what they ran at ${before.same}; --earlier names another commit`;
  return 'without' in before ? before.without : '';
}

/** What is not asked for is as in the short run that finds it. */
function shorten(mutant: Mutant): void {
  const { seconds, perSecond: rate, users, faults, seed } = shortRun(mutant);
  for (const [name, value] of Object.entries({ seconds, rate, users, faults, seed })) {
    if (program.getOptionValueSource(name) !== 'cli') program.setOptionValue(name, value);
  }
}

const { mutant } = program.parse().opts<Options>();
if (mutant) shorten(mutant);
if (program.opts<Options>().memory && program.getOptionValueSource('faults') !== 'cli')
  program.setOptionValue('faults', []);
const options = program.opts<Options>();
const { topology, archive, users, rate, messages, messagesEach, ackReplicas, frames, requests, memory, json } = options;
const seed = options.seed ?? randomInt(0xffffffff);
const asksForEarlier = options.faults === 'all' || options.faults.some(({ needs }) => needs?.includes('earlier'));
const before = asksForEarlier ? sourcesBefore(REPOSITORY, options.earlier) : undefined;
const earlier = before !== undefined && 'root' in before ? before : undefined;
const noEarlier = before === undefined || earlier ? '' : whyNot(before);
const where = { topology, archive, earlier: earlier !== undefined };
const faults =
  options.faults === 'all' ? FAULTS.filter((fault) => !fault.byNameOnly && canBeDone(fault, where)) : options.faults;
const cannot = faults.find((fault) => !canBeDone(fault, where));
if (memory && (faults.length > 0 || mutant)) program.error('error: --memory is for runs without faults and mutants');
if (cannot?.needs?.includes('earlier')) program.error(`error: ${cannot.name} cannot be done: ${noEarlier}`);
if (cannot) program.error(`error: ${cannot.name} cannot be done on ${topology} with ${archive}`);
// As many seconds as the messages take when nothing holds them up.
const seconds = messages === undefined ? options.seconds : Math.ceil(messages / rate);

const say = (line: string) => void process.stderr.write(`${line}\n`);
const chosen = faults.map(({ name }) => name);
const until = `${messages ? ` --messages ${messages}` : ''}${messagesEach === undefined ? '' : ` --messages-each ${messagesEach}`}`;
const asked = `--seed ${seed} --seconds ${seconds}${until} --rate ${rate} --users ${users} --topology ${topology} --archive ${archive}`;
const also = [
  ackReplicas === undefined ? '' : ` --ack-replicas ${ackReplicas}`,
  mutant ? ` --mutant ${mutant.name}` : '',
  earlier ? ` --earlier ${earlier.commit}` : '',
  faults.some(({ name }) => name === 'fuzz') ? ` --frames ${frames} --requests ${requests}` : '',
  memory ? ' --memory' : '',
].join('');
say(
  `to run the same again: npm run chaos -- ${asked} --faults ${options.faults === 'all' ? 'all' : chosen.join(',') || 'none'}${also}`,
);
if (noEarlier) say(`two-versions is left out: ${noEarlier}`);
ensureRedis(say);
for (const folder of removeLeftDisks()) say(`${folder} of a run that was killed is removed`);
const outcome = await run({
  ...{ faults, topology, archive, seconds, seed, users, say },
  ...(earlier ? { earlier } : {}),
  fuzz: { frames, requests },
  ...(messages === undefined ? {} : { messages }),
  ...(messagesEach === undefined ? {} : { messagesEach }),
  ...(ackReplicas === undefined ? {} : { env: { ACK_REPLICAS: String(ackReplicas) } }),
  perSecond: rate,
  settleMs: mutant ? shortRun(mutant).settleMs : 120_000,
  processesPerRole: 2,
  progressEveryMs: 5_000,
  ...(mutant ? overlay(mutant.edits) : {}),
  ...(memory ? { memory, ...overlay(KEPT_BRIEFLY) } : {}),
});
if (json) process.stdout.write(`${jsonOf(outcome, { seed, topology, archive, rate, users })}\n`);
else process.stdout.write(`\n${tableOf(outcome)}\n${linesOf(outcome).join('\n')}\n`);
if (memory && !json) process.stdout.write(`${memoryTableOf(outcome)}\n`);
const grows = memoryRows(outcome.memory ?? []).some(({ flat }) => !flat);
process.exit(outcome.verdict.findings.broken.length > 0 || grows ? 1 : 0);
