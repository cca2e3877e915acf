/** `millrace send`: one message, or one per line of the standard input. */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { type MillraceApi, MillraceError } from '../../lib/client/index.ts';
import {
  channelOf,
  openApi,
  peerArgument,
  type RemoteOptions,
  reporting,
  userArgument,
  withRemoteOptions,
} from './remote.ts';

interface SendOptions extends RemoteOptions {
  clientId?: string;
  json?: true;
}

const RETRIES = 8;

export function registerSend(program: Command): void {
  const command = program
    .command('send')
    .description('Send a message over HTTP, or each line of the standard input as one.')
    .argument('<me>', 'the user who sends', userArgument)
    .argument('<peer>', 'a user id, or a channel (g:<id>)', peerArgument)
    .argument('[text...]', 'the message; without it, lines of the standard input');
  withRemoteOptions(command)
    .option('--client-id <id>', 'the same one again never makes a second message (with [text] only)')
    .option('--json', 'what the server answered, as JSON')
    .addHelpText('after', '\nExample: npm run -s millrace -- send alice bob hello there')
    .action(reporting((_me: string, _peer: string, _text: string[], options: SendOptions) => options, send));
}

async function send(me: string, peer: string, text: string[], options: SendOptions): Promise<void> {
  const api = openApi(me, options);
  const channel = channelOf(me, peer);
  const one = async (content: string) => {
    const client_id = options.clientId ?? crypto.randomUUID();
    const accepted = await post(api, { channel, content, client_id });
    const again = accepted.duplicate ? ' (was there before)' : '';
    console.log(options.json ? JSON.stringify(accepted) : `✓ ${accepted.channel} ${accepted.seq}${again}`);
  };
  if (text.length > 0) return one(text.join(' '));
  for await (const content of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (content !== '') await one(content);
  }
}

/** Again while the refusal passes; the client_id keeps that from making two. */
async function post(api: MillraceApi, message: { channel: string; content: string; client_id: string }) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await api.post(message);
    } catch (error) {
      const passes = error instanceof MillraceError && (error.code === 'rate_limited' || error.code === 'unavailable');
      // A server that is not there at all is told at once.
      if (!passes || error.cause !== undefined || attempt >= RETRIES) throw error;
      await sleep((error.retryAfterMs ?? 0) + Math.random() * 100 * 2 ** attempt);
    }
  }
}
