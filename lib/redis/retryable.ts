/**
 * Which errors of Redis pass by themselves: a slot that moves, a failover, a restart, a broken connection, a full
 * disk. The call may or may not have been executed, so only what is safe to repeat is repeated; everything else
 * (WRONGTYPE, a bug in a script, a refused password) is not helped by trying again.
 */
import { NotReplicatedError, RedisTimeoutError, RedisUnreachableError } from './errors.ts';

/** First words of replies. UNBLOCKED: a blocked read whose server became a replica. OOM, MISCONF: full for now. */
const REPLIES = new Set([
  'TRYAGAIN',
  'CLUSTERDOWN',
  'LOADING',
  'READONLY',
  'MASTERDOWN',
  'NOREPLICAS',
  'MOVED',
  'ASK',
  'UNBLOCKED',
  'BUSY',
  'OOM',
  'MISCONF',
]);

const SYSTEM_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** ioredis gives its own errors no codes. */
const CLIENT_MESSAGES =
  /^(Connection is closed|Connection is aborted|Connection is discarded|None of startup nodes|Failed to refresh slots cache|Cluster is (ended|disconnected|disconnecting)|Cluster isn't ready|Too many Cluster redirections|Reached the max retries|Command timed out|Command aborted|Socket timeout|Stream isn't writeable|All sentinels are unreachable|All keys in the pipeline should belong to the same slots allocation group|connect ETIMEDOUT|Node is disconnected)/;

/** While a slot moves: what a script reads without having it in KEYS is with the new owner already, or was never there. */
const MOVED_AHEAD = /^ERR Script attempted to access a non local key/;

export function isRetryable(error: unknown): boolean {
  if (error instanceof RedisTimeoutError || error instanceof RedisUnreachableError) return true;
  if (error instanceof NotReplicatedError) return true;
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && SYSTEM_CODES.has(code)) return true;
  const { message } = error;
  return REPLIES.has(message.split(' ', 1)[0]!) || CLIENT_MESSAGES.test(message) || MOVED_AHEAD.test(message);
}
