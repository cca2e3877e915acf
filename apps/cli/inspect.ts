/** `millrace inspect`: what an operator asks Redis for, as tables, each with the redis-cli line that shows the same. */
import type { Command } from 'commander';
import { inspectChannel } from './inspect-channel.ts';
import { inspectLag, inspectPartition } from './inspect-partition.ts';
import { inspectUser } from './inspect-user.ts';
import { type Looking, look } from './looking.ts';
import { type Section, show } from './table.ts';

export function registerInspect(program: Command): void {
  const inspect = program.command('inspect').description('Look at what Redis holds, and how to see it with redis-cli.');
  const add = (
    name: string,
    argument: [name: string, text: string] | undefined,
    text: string,
    what: (looking: Looking, argument: string) => Promise<Section[]>,
  ) => {
    const command = inspect.command(name).description(text);
    if (argument !== undefined) command.argument(...argument);
    command.option('--json', 'the same as JSON').action(async (...args: unknown[]) => {
      const argument = typeof args[0] === 'string' ? args[0] : '';
      const options = args[args.length === 3 ? 1 : 0] as { json?: true };
      show(await look((looking) => what(looking, argument)), options.json === true);
    });
  };
  add(
    'user',
    ['<id>', 'the user'],
    "A user's presence, inbox, devices, sessions, blocks and conversations.",
    inspectUser,
  );
  add(
    'channel',
    ['<id>', 'a group (g:<id>), or dm:<a>:<b>'],
    "A channel's head, members and receipts.",
    inspectChannel,
  );
  add(
    'partition',
    ['<n>', 'its number, from 0'],
    "A partition's log, positions, leases, gateways, wake-ups and dead letters.",
    inspectPartition,
  );
  add('lag', undefined, 'How far each role is behind in each partition, and what waits to be pushed.', inspectLag);
}
