/** What can go wrong with Redis itself, as values with a stable `code`. */

/** The process must not start like this; the message says what to change. */
export class StartupError extends Error {
  override readonly name = 'StartupError';
  readonly code = 'startup';
}

/** No reply in time. Whether the command was executed is unknown. */
export class RedisTimeoutError extends Error {
  override readonly name = 'RedisTimeoutError';
  readonly code = 'redis_timeout';
}

/** No connection to the server that has the keys. Nothing was executed. */
export class RedisUnreachableError extends Error {
  override readonly name = 'RedisUnreachableError';
  readonly code = 'redis_unreachable';
}

/** Too few replicas had it in time. It is stored, and may yet be lost: as good as not answered. */
export class NotReplicatedError extends Error {
  override readonly name = 'NotReplicatedError';
  readonly code = 'redis_not_replicated';
}
