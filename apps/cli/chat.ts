/** `millrace chat`: a chat in a terminal, on the client library. */
import { readlinkSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';
import { Chat } from './chat-room.ts';
import { Screen } from './chat-screen.ts';
import {
  connectAs,
  deviceOption,
  newClient,
  peerArgument,
  type RemoteOptions,
  reporting,
  userArgument,
  withRemoteOptions,
} from './remote.ts';

export interface ChatOptions extends RemoteOptions {
  device?: string;
}

/** Given by tests; a terminal otherwise. */
export interface ChatStreams {
  input: Readable;
  output: Writable;
  terminal: boolean;
}

export function registerChatCommand(program: Command): void {
  const command = program
    .command('chat')
    .description('Chat in the terminal. /help inside shows the commands.')
    .argument('<me>', 'who you are', userArgument)
    .argument('[peer]', 'a user id, or a group (g:<id>)', peerArgument);
  withRemoteOptions(command)
    .option('--device <id>', 'which of your devices this is (default: one per terminal)', deviceOption)
    .addHelpText(
      'after',
      '\nExample, in two terminals:\n  npm run -s millrace -- chat alice bob\n  npm run -s millrace -- chat bob alice',
    )
    .action(
      reporting(
        (_me: string, _peer: string | undefined, options: ChatOptions) => options,
        async (me, peer, options) => {
          const { stdin: input, stdout: output } = process;
          const terminal = input.isTTY === true && output.isTTY === true && process.env.TERM !== 'dumb';
          process.exitCode = await runChat(me, peer, options, { input, output, terminal });
        },
      ),
    );
}

/** Resolves with the exit code: 1 when something that was written could not be sent. */
export async function runChat(
  me: string,
  peer: string | undefined,
  options: ChatOptions,
  streams: ChatStreams,
): Promise<number> {
  const client = newClient(me, { ...options, device: options.device ?? defaultDevice() });
  const chat = new Chat(client, me);
  await connectAs(client, me);
  try {
    await chat.opened(peer);
  } catch (error) {
    await client.close();
    throw error;
  }
  const ended = new Promise<void>((resolve) => {
    const screen = new Screen({
      ...streams,
      line: (text) => chat.typed(text),
      typing: (text) => chat.typing(text),
      end: resolve,
    });
    chat.showOn(screen);
  });
  await ended;
  return chat.end();
}

/** One per terminal, so that two terminals of one user are two devices and a restart resumes. */
function defaultDevice(): string {
  try {
    const terminal = readlinkSync('/proc/self/fd/0');
    if (terminal.startsWith('/dev/')) return `chat-${terminal.slice(5).replace(/[^A-Za-z0-9_.-]/g, '-')}`.slice(0, 64);
  } catch {
    // Not Linux: there one chat per process is a device of its own.
  }
  return `chat-${process.pid}`;
}
