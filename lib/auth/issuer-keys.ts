/**
 * The issuer's public keys, from its JWKS URL.
 *
 * The last good set serves until another one replaces it: an issuer that is away, slow or talks nonsense changes nothing
 * for tokens of keys that we know. It is asked again every five minutes (so a withdrawn key is refused within that
 * time), and when a token names a `kid` that we do not know; but never more often than the cool-downs allow, whatever
 * tokens come.
 */
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
} from 'jose';
import type { Logger } from 'pino';

/** Whether the token is good cannot be told at present: its key is not known, and the issuer cannot be asked. */
export class KeysUnavailableError extends Error {
  readonly code = 'unavailable';
  override readonly name = 'KeysUnavailableError';
}

export interface IssuerKeysTimes {
  /** After a fetch, an unknown `kid` asks the issuer again only when so much has passed. */
  cooldownMs: number;
  /** After a fetch that failed, nobody asks for so long. */
  retryMs: number;
  refreshMs: number;
  /** For the whole answer. */
  timeoutMs: number;
}

export interface IssuerKeysOptions {
  logger?: Logger | undefined;
  /** Called when the keys are others than before: what was verified with the old ones no longer counts. */
  onChange: () => void;
  onFetch?: ((result: 'ok' | 'failed') => void) | undefined;
  times?: Partial<IssuerKeysTimes> | undefined;
}

export interface IssuerKeys {
  /** For jose: rejects with KeysUnavailableError, or with a JOSEError when no key fits. */
  readonly find: JWTVerifyGetKey;
  close(): void;
}

const TIMES: IssuerKeysTimes = { cooldownMs: 10_000, retryMs: 5000, refreshMs: 300_000, timeoutMs: 5000 };
/** A set of a hundred RSA keys with certificates fits. */
const LONGEST_ANSWER = 256 * 1024;
const KEY_TYPES = new Set(['RSA', 'EC', 'OKP']);

export function issuerKeys(url: URL, options: IssuerKeysOptions): IssuerKeys {
  const { logger } = options;
  const times = { ...TIMES, ...options.times };
  let failedUntil = Number.NEGATIVE_INFINITY;
  let failing = false;
  let present = '';
  const fetchKeys: FetchImplementation = async (address, init) => {
    if (performance.now() < failedUntil) throw new KeysUnavailableError('the issuer of tokens was asked a moment ago');
    try {
      const set = await read(await fetch(address, init));
      if (failing) logger?.info({ jwks: url.href, keys: set.keys.length }, "the issuer's keys are there");
      failing = false;
      options.onFetch?.('ok');
      const text = JSON.stringify(set);
      if (present !== text) {
        if (present !== '')
          logger?.info({ jwks: url.href, kids: set.keys.map((k) => k.kid) }, 'the issuer changed its keys');
        present = text;
        options.onChange();
      }
      return new Response(text);
    } catch (error) {
      failedUntil = performance.now() + times.retryMs;
      options.onFetch?.('failed');
      if (!failing) {
        const consequence =
          present === '' ? 'until then every token is refused as unavailable' : 'the keys known so far serve on';
        logger?.warn(
          { jwks: url.href, reason: reasonOf(error) },
          `the issuer's keys cannot be fetched: ${consequence}`,
        );
      }
      failing = true;
      throw new KeysUnavailableError('the issuer of tokens does not answer', { cause: error });
    }
  };
  const find = createRemoteJWKSet(url, {
    // Replaced, never dropped: the clock below refreshes them.
    cacheMaxAge: Number.POSITIVE_INFINITY,
    cooldownDuration: times.cooldownMs,
    timeoutDuration: times.timeoutMs,
    [customFetch]: fetchKeys,
  });

  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const refresh = async (): Promise<void> => {
    // What went wrong is logged above.
    const failed = await find.reload().then(
      () => false,
      () => true,
    );
    if (closed) return;
    const pauseMs = failed ? Math.min(times.retryMs * 2, times.refreshMs) : times.refreshMs;
    // Jittered, so that a fleet of gateways does not ask in step.
    timer = setTimeout(refresh, pauseMs * (0.75 + Math.random() / 4)).unref();
  };
  void refresh();
  return {
    find,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** Only the keys that may check a signature. Throws what is wrong with the answer. */
async function read(response: Response): Promise<JSONWebKeySet> {
  if (response.status !== 200 || !response.body) {
    await response.body?.cancel();
    throw new Error(`it answered with status ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body) {
    length += chunk.byteLength;
    if (length > LONGEST_ANSWER) throw new Error(`its answer is longer than ${LONGEST_ANSWER} bytes`);
    chunks.push(chunk);
  }
  const set = JSON.parse(Buffer.concat(chunks).toString()) as Partial<JSONWebKeySet> | null;
  const all: unknown[] = Array.isArray(set?.keys) ? set.keys : [];
  const keys = (all as JSONWebKeySet['keys']).filter(
    (key) => typeof key === 'object' && key !== null && KEY_TYPES.has(key.kty ?? '') && !('d' in key),
  );
  if (keys.length === 0) throw new Error('its answer is no set of public keys');
  return { keys };
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.JOSEError || !(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error ? `${error.message} (${cause.message})` : error.message;
}
