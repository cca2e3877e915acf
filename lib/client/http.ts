/** JSON over HTTP with a token; every failure is a MillraceError, a server that cannot be reached is `unavailable`. */
import { ERROR_CODES, type ErrorBody, MillraceError } from '../protocol/errors.ts';

export interface HttpOptions {
  /** Of the server: `http://host:port`, without `/v1`. */
  url: string;
  token: () => Promise<string>;
  /** For service tokens: on whose behalf. */
  user?: string | undefined;
  /** Per call, default 10 s. */
  timeoutMs?: number | undefined;
  fetch?: typeof fetch | undefined;
}

export type Query = Record<string, string | number | undefined>;

export class Http {
  private readonly options: HttpOptions;

  constructor(options: HttpOptions) {
    this.options = options;
  }

  /** `path` below `/v1`, its variable parts already encoded. */
  async call<T>(method: string, path: string, options: { query?: Query; body?: unknown } = {}): Promise<T> {
    const { url, token, user, timeoutMs = 10_000, fetch: send = globalThis.fetch } = this.options;
    const target = new URL(`/v1${path}`, url);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) target.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = { authorization: `Bearer ${await token()}` };
    if (user !== undefined) headers['millrace-user'] = user;
    if (options.body !== undefined) headers['content-type'] = 'application/json';
    let response: Response;
    let text: string;
    try {
      response = await send(target, {
        method,
        headers,
        signal: AbortSignal.timeout(timeoutMs),
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      });
      text = await response.text();
    } catch (cause) {
      throw new MillraceError('unavailable', `${method} ${target.pathname}: ${target.host} does not answer`, { cause });
    }
    const body = parse(text);
    if (response.ok) {
      if (text !== '' && body === undefined) throw this.notOurs(method, target, response.status);
      return body as T;
    }
    const error = (body as Partial<ErrorBody> | undefined)?.error;
    if (error === undefined || !ERROR_CODES.includes(error.code)) throw this.notOurs(method, target, response.status);
    throw new MillraceError(error.code, error.message, {
      status: response.status,
      ...(error.retry_after_ms === undefined ? {} : { retryAfterMs: error.retry_after_ms }),
    });
  }

  /** Most likely something in between, or another server on that port. */
  private notOurs(method: string, target: URL, status: number): MillraceError {
    const message = `${method} ${target.pathname}: ${target.host} answered ${status} with something that is not Millrace's`;
    return new MillraceError('unavailable', message, { status });
  }
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : (JSON.parse(text) as unknown);
  } catch {
    // Told by the caller, with where it came from.
    return undefined;
  }
}
