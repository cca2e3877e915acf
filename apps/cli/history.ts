/** `millrace history`: a channel's messages and events, oldest first as one reads. */
import type { Command } from 'commander';
import { shownForm } from '../../lib/client/index.ts';
import {
  channelOf,
  countOption,
  openApi,
  peerArgument,
  type RemoteOptions,
  reporting,
  userArgument,
  withRemoteOptions,
} from './remote.ts';
import { line } from './text.ts';

interface HistoryOptions extends RemoteOptions {
  limit: number;
  before?: number;
  after?: number;
  json?: true;
}

export function registerHistory(program: Command): void {
  const command = program
    .command('history')
    .description('Show the messages and events of a channel.')
    .argument('<me>', 'the user who reads', userArgument)
    .argument('<peer>', 'a user id, or a channel (g:<id>)', peerArgument);
  withRemoteOptions(command)
    .option('--limit <n>', 'at most so many (200 per call)', countOption, 50)
    .option('--before <seq>', 'only before this one', countOption)
    .option('--after <seq>', 'only after this one', countOption)
    .option('--json', 'one JSON object per line')
    .action(reporting((_me: string, _peer: string, options: HistoryOptions) => options, history));
}

async function history(me: string, peer: string, options: HistoryOptions): Promise<void> {
  const { limit, before, after, json } = options;
  const page = await openApi(me, options).history(channelOf(me, peer), {
    limit,
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
  });
  const entries = after === undefined ? page.messages.toReversed() : page.messages;
  for (const entry of entries) console.log(json ? JSON.stringify(entry) : `${entry.seq} ${line(shownForm(entry), me)}`);
  const newest = entries.at(-1)?.seq ?? 0;
  if (newest > page.complete_to) {
    process.stderr.write(`(complete up to ${page.complete_to}: the archive is behind, there may be more)\n`);
  }
}
