import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { commands, EXIT_CODES } from './commands.ts';

test('the help of every command names, and explains, each of its options and arguments', async () => {
  const program = new Command('millrace');
  for (const load of Object.values(commands)) (await load())(program);
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  const every = program.commands.flatMap(all);
  expect(every.length).toBeGreaterThan(Object.keys(commands).length);
  for (const command of every) {
    const name = command.name();
    const help = command.helpInformation();
    expect(command.description(), name).not.toBe('');
    for (const { flags, description } of command.options) {
      expect(help, name).toContain(flags);
      expect(description, `${name} ${flags}`).not.toBe('');
    }
    for (const argument of command.registeredArguments) {
      expect(help, name).toContain(argument.name());
      expect(argument.description, `${name} ${argument.name()}`).not.toBe('');
    }
  }
});

test('the README names the exit codes as the help does, and every command', async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8').replaceAll(/\s+/g, ' ');
  expect(readme).toContain(EXIT_CODES);
  for (const name of Object.keys(commands))
    expect(readme, name).toMatch(new RegExp(`(npm run (-s )?millrace -- |npm |\`)${name}\\b`));
});
