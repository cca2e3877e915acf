/** The `millrace` command. Each file beside this one adds its own commands. */
import { Command, CommanderError } from 'commander';
import { exitCodeOf, explain } from '../../lib/process/run.ts';
import { registerDoctor } from './doctor.ts';
import { registerInspect } from './inspect.ts';
import { registerSchema } from './schema.ts';
import { registerStart } from './start.ts';
import { registerToken } from './token.ts';

const program = new Command('millrace')
  .description('A real-time messaging backend: every user has a durable inbox, every message a place in history.')
  .showHelpAfterError('(--help shows what there is)')
  .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 used wrongly, 78 something to change in the configuration.');

// Before the commands: they inherit it.
program.exitOverride((end) => process.exit(end.exitCode === 0 ? 0 : 2));

registerStart(program);
registerToken(program);
registerInspect(program);
registerDoctor(program);
registerSchema(program);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof CommanderError ? error.message : explain(error)}\n`);
  process.exitCode = error instanceof CommanderError ? 2 : exitCodeOf(error);
}
