/**
 * The catalogue of everything that can be refused: stable codes, their HTTP status, and the WebSocket close codes.
 * Pure: the client library imports it in browsers.
 */

export const ERRORS = {
  bad_frame: { status: 400, meaning: 'Not a JSON object, an unknown type, or a field missing or of the wrong type.' },
  bad_request: { status: 400, meaning: 'Well-formed, but not acceptable (415 for an unsupported content type).' },
  unauthenticated: { status: 401, meaning: 'No token, or one that is not valid.' },
  forbidden: { status: 403, meaning: 'A member without the right, somebody else’s direct channel, or blocked.' },
  not_found: { status: 404, meaning: 'No such thing, or a group of which one is not a member.' },
  conflict: { status: 409, meaning: 'Not possible in the present state.' },
  too_large: { status: 413, meaning: 'Content, metadata or body over the limit.' },
  rate_limited: { status: 429, meaning: 'Too fast: wait for retry_after_ms.' },
  internal: { status: 500, meaning: 'A bug of the server.' },
  unavailable: {
    status: 503,
    meaning: 'Nothing was stored as far as the server knows: send again with the same client_id.',
  },
} as const;

export type ErrorCode = keyof typeof ERRORS;

export const ERROR_CODES = Object.keys(ERRORS) as ErrorCode[];

export const CLOSE_CODES = {
  bye: { code: 1000, meaning: 'The session ended normally.' },
  binary: { code: 1003, meaning: 'A binary frame.' },
  notUtf8: { code: 1007, meaning: 'A text frame that is not UTF-8.' },
  tooLarge: { code: 1009, meaning: 'A frame over the limit.' },
  internal: { code: 1011, meaning: 'A bug of the server.' },
  goingAway: { code: 1012, meaning: 'The server is going away: reconnect.' },
  unauthenticated: { code: 4001, meaning: 'Authentication failed, expired or ended.' },
  protocol: { code: 4002, meaning: 'Protocol violation.' },
  replaced: { code: 4003, meaning: 'The same device connected again.' },
  heartbeat: { code: 4008, meaning: 'No frame within the heartbeat’s bound.' },
  tooManySessions: { code: 4009, meaning: 'Too many sessions of this user.' },
  rateLimited: { code: 4029, meaning: 'Rate limited repeatedly.' },
} as const;

export type CloseReason = keyof typeof CLOSE_CODES;
export type CloseCode = (typeof CLOSE_CODES)[CloseReason]['code'];

/** After these a client does not reconnect by itself: the same attempt would only be refused again. */
export function isFinalClose(code: number): boolean {
  return code === 4001 || code === 4002 || code === 4003;
}

export interface MillraceErrorOptions {
  retryAfterMs?: number;
  /** Where the catalogue's HTTP status is not the exact one (415). */
  status?: number;
  cause?: unknown;
}

/** A refusal with a code of the catalogue; its message goes to the client, so it holds no contents and no secrets. */
export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? ERRORS[code].status;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Nobody acts as a user whose erasure is running, or adds them anywhere; it takes seconds. */
export function beingErased(): MillraceError {
  return new MillraceError('unavailable', 'this user is being erased: the id is free again when that is done', {
    retryAfterMs: 2000,
  });
}

export interface ErrorBody {
  error: { code: ErrorCode; message: string; retry_after_ms?: number };
}

/** The JSON body of an error on every HTTP route. */
export function errorBody(error: MillraceError): ErrorBody {
  return { error: describeError(error) };
}

export interface ErrorFields {
  type: 'error';
  code: ErrorCode;
  message: string;
  ref?: string;
  client_id?: string;
  retry_after_ms?: number;
}

/** The `error` frame that answers a client's frame. */
export function errorFrame(error: MillraceError, answers: { ref?: string; client_id?: string } = {}): ErrorFields {
  return {
    type: 'error',
    ...describeError(error),
    ...(answers.client_id === undefined ? {} : { client_id: answers.client_id }),
    ...(answers.ref === undefined ? {} : { ref: answers.ref }),
  };
}

function describeError(error: MillraceError): ErrorBody['error'] {
  const { code, message, retryAfterMs } = error;
  return retryAfterMs === undefined ? { code, message } : { code, message, retry_after_ms: retryAfterMs };
}
