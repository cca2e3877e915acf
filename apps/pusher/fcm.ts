/**
 * Wake-ups through Firebase Cloud Messaging, with `firebase-admin`. Its `send` goes over HTTP/1.1 by the agent given here,
 * and gives up on an answer after 15 s. That does not cover the way to Google (a proxy, TLS) nor the exchange for an
 * access token, which all sends wait for together: what has no answer for longer is given up here, with every connection.
 */
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { cert, deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging, type Messaging } from 'firebase-admin/messaging';
import { ConfigError, type PushSnippet } from '../../lib/config/index.ts';
import { messageFor } from './payload.ts';
import type { Outcome, Sender } from './sender.ts';

export interface FcmOptions {
  /** Of a service account, as the Firebase console gives it. */
  credentialsFile: string;
  /** An HTTP proxy, `http://host:port`. */
  proxy?: string;
  snippet: PushSnippet;
  /** Trusted besides what Node trusts; PEM. */
  ca?: string;
  /** A wake-up without an answer is given up after this long; by default after firebase-admin's own 15 s. */
  answerMs?: number;
}

/** As many at once; more wait for a free connection. */
const CONNECTIONS = 64;
const ANSWER_MS = 20_000;
const NO_ANSWER: Outcome = { kind: 'retry', reason: 'no-answer' };

let count = 0;

/** Throws ConfigError when the credentials cannot be used. */
export function fcmSender(options: FcmOptions): Sender {
  const { credentialsFile, proxy, snippet, ca, answerMs = ANSWER_MS } = options;
  const agent = new TrackingAgent({
    keepAlive: true,
    maxSockets: CONNECTIONS,
    ...(ca === undefined ? {} : { ca }),
    ...(proxy === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxy } }),
  });
  const app = open(credentialsFile, agent);
  const messaging = getMessaging(app);
  askOnce(messaging);
  return {
    description: `wake-ups go to Firebase Cloud Messaging, project ${app.options.projectId}`,
    async send(wake, leaving) {
      const tooLong = AbortSignal.timeout(answerMs);
      const sending = messaging.send(messageFor(wake, snippet, Date.now())).then(
        (): Outcome => ({ kind: 'sent' }),
        (error: unknown) => outcomeOf(error),
      );
      const outcome = await unless(leaving ? AbortSignal.any([tooLong, leaving]) : tooLong, sending);
      // Every connection, also the one of the exchange: what waits on them fails, and begins anew.
      if (outcome === NO_ANSWER && tooLong.aborted) agent.destroy();
      return outcome;
    },
    async close() {
      await deleteApp(app);
      agent.destroy();
    },
  };
}

/** Of a connection that a proxy has accepted, and not yet led anywhere, Node's own knows nothing: it would stay for ever. */
class TrackingAgent extends Agent {
  readonly #open = new Set<Duplex>();

  override createConnection(...args: Parameters<Agent['createConnection']>): ReturnType<Agent['createConnection']> {
    const socket = super.createConnection(...args);
    if (socket) {
      this.#open.add(socket);
      socket.once('close', () => this.#open.delete(socket));
    }
    return socket;
  }

  override destroy(): void {
    for (const socket of this.#open) socket.destroy(new Error('no answer'));
    super.destroy();
  }
}

/** The outcome, or that there was none when the signal came; what comes later counts for nothing. */
function unless(signal: AbortSignal, sending: Promise<Outcome>): Promise<Outcome> {
  return new Promise((resolve) => {
    const giveUp = () => resolve(NO_ANSWER);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    void sending.then((outcome) => {
      signal.removeEventListener('abort', giveUp);
      resolve(outcome);
    });
  });
}

function open(file: string, agent: Agent) {
  const projectId = projectOf(file);
  try {
    // By its file's name: given the account itself, firebase-admin 14 fetches access tokens without our agent.
    return initializeApp({ credential: cert(file, agent), httpAgent: agent, projectId }, `millrace-${++count}`);
  } catch (error) {
    throw unusable(file, error);
  }
}

/**
 * Left alone, firebase-admin asks five times for each message, and sleeps through a `Retry-After` of up to a minute: 64
 * such messages would keep all others waiting. The waker repeats, with a bound, and with everything else going on. There
 * is no option for it (firebase-admin 14); should the field move, a test says so (`fcm.test.ts`, "is asked once").
 */
function askOnce(messaging: Messaging): void {
  const { messagingRequestHandler: handler } = messaging as unknown as {
    messagingRequestHandler?: { httpClient?: { retry?: unknown } };
  };
  if (handler?.httpClient) handler.httpClient.retry = undefined;
}

function projectOf(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw unusable(file, error);
  }
  let account: { project_id?: unknown } | null;
  try {
    account = JSON.parse(text) as typeof account;
  } catch {
    // The parser's own words quote the file, and with it the key.
    throw unusable(file, new Error('it is not JSON'));
  }
  const id = account?.project_id;
  if (typeof id !== 'string' || id === '') throw unusable(file, new Error('it has no project_id'));
  return id;
}

function unusable(file: string, cause: unknown): ConfigError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ConfigError(
    `FCM_CREDENTIALS must name a service account's file; ${file}: ${why}. The Firebase console makes one: Project ` +
      'settings, Service accounts, "Generate new private key". Without FCM_CREDENTIALS wake-ups are logged, and not sent.',
    { cause },
  );
}

/** What says nothing about this message: repeated later, and bounded. */
const MAY_PASS = new Set([
  'app/network-error',
  'app/network-timeout',
  'app/internal-error',
  'app/unable-to-parse-response',
  // Keys that were turned: the operator's to mend, and the dead letters' to repeat.
  'app/invalid-credential',
  'messaging/authentication-error',
  'messaging/third-party-auth-error',
  'messaging/device-message-rate-exceeded',
  'messaging/internal-error',
  'messaging/message-rate-exceeded',
  'messaging/server-unavailable',
  'messaging/unknown-error',
]);
const ABOUT_EVERYONE = new Set(['messaging/message-rate-exceeded', 'messaging/server-unavailable']);

function outcomeOf(error: unknown): Outcome {
  const { code = 'unknown', httpResponse } = error as {
    code?: string;
    httpResponse?: { headers?: Record<string, unknown> };
  };
  const reason = code.replace(/^(messaging|app)\//, '');
  if (code === 'messaging/registration-token-not-registered') return { kind: 'unregistered' };
  if (!MAY_PASS.has(code) && code !== 'unknown') return { kind: 'refused', reason };
  const afterMs = retryAfterMs(httpResponse?.headers?.['retry-after']);
  return {
    kind: 'retry',
    reason,
    ...(afterMs === undefined ? {} : { afterMs }),
    ...(ABOUT_EVERYONE.has(code) ? { everyone: true } : {}),
  };
}

/** RFC 9110 §10.2.3: seconds, or a date. */
function retryAfterMs(header: unknown): number | undefined {
  if (typeof header !== 'string') return undefined;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
