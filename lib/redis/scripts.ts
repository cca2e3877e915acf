/**
 * Typed callers of `lua/*.lua`. A script's number of keys is declared beside it; arguments and replies are typed here and
 * nowhere else.
 *
 * Scripts go by EVALSHA. A promoted or restarted server does not know them: NOSCRIPT ran nothing, so the script is sent
 * whole, once. Callers that need an order have one call in flight (design, rule 8), so this cannot reorder them.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const folder = new URL('../../lua/', import.meta.url);

export type ScriptName =
  | 'ack'
  | 'advance'
  | 'append'
  | 'attach'
  | 'block'
  | 'bucket'
  | 'change'
  | 'create'
  | 'deliver'
  | 'detach'
  | 'drop_token'
  | 'due'
  | 'erase_begin'
  | 'erase_channel'
  | 'erase_user'
  | 'forget_device'
  | 'gateway_leave'
  | 'gateway_renew'
  | 'lease_join'
  | 'lease_release'
  | 'lease_renew'
  | 'lost'
  | 'overdue'
  | 'put_block'
  | 'put_device'
  | 'put_member'
  | 'raise'
  | 'read'
  | 'reassert'
  | 'rebuild'
  | 'remove_member'
  | 'rename'
  | 'restore'
  | 'restore_account'
  | 'roll_call'
  | 'saved'
  | 'settle'
  | 'tell'
  | 'to_save'
  | 'wake'
  | 'wake_late'
  | 'signal'
  | 'walk';

interface Script {
  body: string;
  sha: string;
}

const loaded = new Map<ScriptName, Script>();

/** The script's text with its `--- include` lines replaced. */
export function script(name: ScriptName): Script {
  const known = loaded.get(name);
  if (known) return known;
  const body = readFileSync(new URL(`${name}.lua`, folder), 'utf8').replaceAll(/^--- include (\w+)$/gm, (_, part) =>
    readFileSync(new URL(`include/${part}.lua`, folder), 'utf8'),
  );
  const entry = { body, sha: createHash('sha1').update(body).digest('hex') };
  loaded.set(name, entry);
  return entry;
}

/** What runs scripts: an ioredis client, or a connection of one's own. */
export interface ScriptHost {
  evalsha(sha: string, keys: number, ...rest: (string | number)[]): Promise<unknown>;
  eval(body: string, keys: number, ...rest: (string | number)[]): Promise<unknown>;
}

/** Told of every call: name, seconds from call to reply. */
export type ScriptObserver = (name: ScriptName, seconds: number) => void;

export async function run<Reply>(
  redis: ScriptHost,
  name: ScriptName,
  keys: readonly string[],
  args: readonly (string | number)[],
  observe?: ScriptObserver,
): Promise<Reply> {
  const { body, sha } = script(name);
  const started = performance.now();
  try {
    return (await redis.evalsha(sha, keys.length, ...keys, ...args)) as Reply;
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
    return (await redis.eval(body, keys.length, ...keys, ...args)) as Reply;
  } finally {
    observe?.(name, (performance.now() - started) / 1000);
  }
}
