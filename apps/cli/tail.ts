/** `millrace tail`: what comes to a user, as it comes. */
import type { Command } from 'commander';
import { type ChannelEvent, MillraceError } from '../../lib/client/index.ts';
import {
  channelOf,
  connectAs,
  countOption,
  deviceOption,
  newClient,
  peerArgument,
  type RemoteOptions,
  reporting,
  userArgument,
  withRemoteOptions,
} from './remote.ts';
import { line } from './text.ts';

interface TailOptions extends RemoteOptions {
  device: string;
  since?: string;
  count?: number;
  json?: true;
}

export function registerTail(program: Command): void {
  const command = program
    .command('tail')
    .description('Follow what comes to a user; resumes where the same device stopped the last time.')
    .argument('<me>', 'the user whose messages these are', userArgument)
    .argument('[peer]', 'only this user or channel', peerArgument);
  withRemoteOptions(command)
    .option('--device <id>', 'which of the user’s devices this is', deviceOption, 'tail')
    .option('--since <offset>', 'resume after this offset')
    .option('--count <n>', 'end after so many', countOption)
    .option('--json', 'one JSON object per line')
    .action(
      reporting(
        (_me: string, _peer: string | undefined, options: TailOptions) => options,
        async (me, peer, options) => {
          await tail(me, peer, options);
        },
      ),
    );
}

async function tail(me: string, peer: string | undefined, options: TailOptions): Promise<void> {
  const client = newClient(me, options);
  const channel = peer === undefined ? undefined : channelOf(me, peer);
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let end = () => {};
  const ended = new Promise<void>((resolve, reject) => {
    end = resolve;
    client.on('closed', ({ byUser, code, reason }) => {
      if (byUser) return;
      const why =
        code === 4003 ? `device ${options.device} is connected elsewhere: use another --device` : `${code} ${reason}`;
      reject(new MillraceError('conflict', `the server ended the session: ${why}`));
    });
  });
  // Awaited only after connect(), which rejects on its own account when the first session is refused.
  ended.catch(() => {});
  client.on('event', (event: ChannelEvent) => {
    if ((channel !== undefined && event.channel !== channel) || left <= 0) return;
    console.log(options.json ? JSON.stringify(event) : `${event.channel} ${event.seq} ${line(event, me)}`);
    left -= 1;
    if (left === 0) end();
  });
  client.on('gap', (gap) => {
    process.stderr.write(`(too much was missed: filling ${gap.channels.length} channels from history)\n`);
  });
  await connectAs(client, me);
  client.on('disconnected', ({ reason, retryInMs }) => {
    process.stderr.write(`(connection lost${reason === '' ? '' : `: ${reason}`}; again in ${retryInMs} ms)\n`);
  });
  client.on('error', (error) => {
    process.stderr.write(`(${error.message})\n`);
  });
  process.once('SIGINT', end);
  process.once('SIGTERM', end);
  try {
    await ended;
  } finally {
    await client.close();
  }
}
