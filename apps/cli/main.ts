/** The `millrace` command. Each file beside this one adds its own. */
import { Command, CommanderError } from 'commander';
import { exitCodeOf, explain } from '../../lib/process/explain.ts';

type Register = (program: Command) => void;

/** In the order in which --help lists them. */
const commands: Record<string, () => Promise<Register>> = {
  start: async () => (await import('./start.ts')).registerStart,
  chat: async () => (await import('./chat.ts')).registerChatCommand,
  send: async () => (await import('./send.ts')).registerSend,
  tail: async () => (await import('./tail.ts')).registerTail,
  history: async () => (await import('./history.ts')).registerHistory,
  token: async () => (await import('./token.ts')).registerToken,
  inspect: async () => (await import('./inspect.ts')).registerInspect,
  'dead-letters': async () => (await import('./dead-letters.ts')).registerDeadLetters,
  doctor: async () => (await import('./doctor.ts')).registerDoctor,
  schema: async () => (await import('./schema.ts')).registerSchema,
};

const program = new Command('millrace')
  .description('A real-time messaging backend: every user has a durable inbox, every message a place in history.')
  .showHelpAfterError('(--help shows what there is)')
  .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 used wrongly, 78 something to change in the configuration.');

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
