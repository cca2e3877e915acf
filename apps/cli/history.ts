/** `millrace history`: a channel's messages and events, oldest first as one reads. */
import type { Command } from 'commander';
import { type History, MillraceError, shownForm } from '../../lib/client/index.ts';
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

const PAGE = 200;

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
    .option('--limit <n>', 'at most so many', countOption, 50)
    .option('--before <seq>', 'only before this one', countOption)
    .option('--after <seq>', 'only after this one', countOption)
    .option('--json', 'one JSON object per line')
    .action(reporting((_me: string, _peer: string, options: HistoryOptions) => options, history));
}

async function history(me: string, peer: string, options: HistoryOptions): Promise<void> {
  const api = openApi(me, options);
  const channel = channelOf(me, peer);
  if (options.before !== undefined && options.after !== undefined) {
    throw new MillraceError('bad_request', '--before and --after exclude each other');
  }
  const entries: History['messages'] = [];
  let { before, after } = options;
  let completeTo = 0;
  while (entries.length < options.limit) {
    const limit = Math.min(PAGE, options.limit - entries.length);
    const bounds = after !== undefined ? { after } : before !== undefined ? { before } : {};
    const page = await api.history(channel, { limit, ...bounds });
    completeTo = Math.max(completeTo, page.complete_to);
    entries.push(...page.messages);
    const last = page.messages.at(-1)?.seq;
    if (last === undefined || page.messages.length < limit || (after === undefined && last === 1)) break;
    if (after !== undefined) after = last;
    else before = last;
  }
  if (after === undefined) entries.reverse();
  for (const entry of entries) {
    console.log(options.json ? JSON.stringify(entry) : `${entry.seq} ${line(shownForm(entry), me)}`);
  }
  if ((entries.at(-1)?.seq ?? 0) > completeTo) {
    process.stderr.write(`(complete up to ${completeTo}: the archive is behind, there may be more)\n`);
  }
}
