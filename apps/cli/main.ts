/** The `millrace` command. */
import { Command, CommanderError } from 'commander';
import { exitCodeOf, explain } from '../../lib/process/explain.ts';
import { commands, EXIT_CODES } from './commands.ts';

const program = new Command('millrace')
  .description('A real-time messaging backend: every user has a durable inbox, every message a place in history.')
  .showHelpAfterError('(--help shows what there is)')
  .addHelpText('after', `\n${EXIT_CODES}`);

// Before the commands: they inherit it.
program.exitOverride((end) => process.exit(end.exitCode === 0 ? 0 : 2));

// A command that is named is loaded alone, which makes it start in half the time.
const asked = process.argv[2] ?? '';
for (const [name, load] of Object.entries(commands)) {
  if (asked === name || !Object.hasOwn(commands, asked)) (await load())(program);
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof CommanderError ? error.message : explain(error)}\n`);
  process.exitCode = error instanceof CommanderError ? 2 : exitCodeOf(error);
}
