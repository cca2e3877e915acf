/** What the commands that speak to a gateway share: where it is, as whom, to whom, and what to say when it fails. */
import { type Command, InvalidArgumentError } from 'commander';
import { directChannel, MillraceApi, MillraceClient, MillraceError } from '../../lib/client/index.ts';
import { isDeviceId, isUserId, parseChannel } from '../../lib/protocol/ids.ts';
import { devToken, serverUrl } from './credentials.ts';

export interface RemoteOptions {
  url?: string;
  token?: string;
}

export function withRemoteOptions(command: Command): Command {
  return command
    .option('--url <url>', 'where the gateway is (default: MILLRACE_URL, or the start that runs here)')
    .option('--token <jwt>', 'a token for <me> (default: MILLRACE_TOKEN, or one made with the secret at hand)');
}

export function userArgument(text: string): string {
  if (!isUserId(text)) throw new InvalidArgumentError('A user id is 1 to 64 of A-Z a-z 0-9 _ . -');
  return text;
}

export function deviceOption(text: string): string {
  if (!isDeviceId(text)) throw new InvalidArgumentError('A device id is 1 to 64 of A-Z a-z 0-9 _ . -');
  return text;
}

/** Whom one writes to: a user's id, or a channel's (`g:…`, `dm:a:b`). */
export function peerArgument(text: string): string {
  if (!isUserId(text) && parseChannel(text) === undefined) {
    throw new InvalidArgumentError('A user id, or a channel: g:<id>, dm:<a>:<b>.');
  }
  return text;
}

export function countOption(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('A whole number from 1.');
  return count;
}

export function channelOf(me: string, peer: string): string {
  return peer.includes(':') ? peer : directChannel(me, peer);
}

const url = (options: RemoteOptions): string => options.url ?? serverUrl();

/** A function where the secret is here: a chat outlives a token. */
function tokenOf(me: string, options: RemoteOptions): string | (() => string) {
  const given = options.token ?? process.env.MILLRACE_TOKEN;
  if (given) return given;
  devToken({ user: me });
  return () => devToken({ user: me });
}

export function openApi(me: string, options: RemoteOptions): MillraceApi {
  const token = tokenOf(me, options);
  return new MillraceApi({
    url: url(options),
    token: async () => (typeof token === 'string' ? token : token()),
  });
}

export function newClient(me: string, options: RemoteOptions & { device: string; since?: string }): MillraceClient {
  const { device, since } = options;
  return new MillraceClient({
    url: url(options),
    token: tokenOf(me, options),
    device,
    ...(since === undefined ? {} : { since }),
  });
}

/** Fails at once when nobody is there; later losses are the client's to mend. */
export async function connectAs(client: MillraceClient, me: string): Promise<void> {
  await client.connect({ retry: false });
  if (client.user !== me) {
    await client.close();
    throw new MillraceError('forbidden', `the token is ${client.user}'s, not ${me}'s`);
  }
}

/** Runs a command; what fails is told in a sentence with what to do, and exits 1. Other errors are bugs, or main's. */
export function reporting<Args extends unknown[]>(
  options: (...args: Args) => RemoteOptions,
  run: (...args: Args) => Promise<void>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    try {
      await run(...args);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      process.stderr.write(`${explainRefusal(error, url(options(...args)))}\n`);
      process.exitCode = 1;
    }
  };
}

export function explainRefusal(error: MillraceError, where: string): string {
  switch (error.code) {
    case 'unavailable':
      // A status means that somebody answered.
      if (error.cause === undefined) return `${where}: ${error.message}`;
      return `no Millrace answers at ${where}: start one with \`npm start\`, or say where it is with --url or MILLRACE_URL`;
    case 'unauthenticated':
      return `${where} does not accept the token (${error.message}): JWT_SECRET here and there must be the same, or give --token`;
    default:
      return `${error.code}: ${error.message}`;
  }
}
