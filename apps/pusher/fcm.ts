/**
 * Wake-ups through Firebase Cloud Messaging, with `firebase-admin`. Its `send` goes over HTTP/1.1 by the agent given here,
 * repeats what failed by the network or with 503 up to four times by itself, and gives up on an answer after 15 s.
 */
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { cert, deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
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
}

/** As many at once; more wait for a free connection. */
const CONNECTIONS = 64;

let count = 0;

/** Throws ConfigError when the credentials cannot be used. */
export function fcmSender(options: FcmOptions): Sender {
  const { credentialsFile, proxy, snippet, ca } = options;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: CONNECTIONS,
    ...(ca === undefined ? {} : { ca }),
    ...(proxy === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxy } }),
  });
  const app = open(credentialsFile, agent);
  const messaging = getMessaging(app);
  return {
    description: `wake-ups go to Firebase Cloud Messaging, project ${app.options.projectId}`,
    async send(wake) {
      try {
        await messaging.send(messageFor(wake, snippet, Date.now()));
        return { kind: 'sent' };
      } catch (error) {
        return outcomeOf(error);
      }
    },
    async close() {
      await deleteApp(app);
      agent.destroy();
    },
  };
}

function open(file: string, agent: Agent) {
  try {
    // By its file's name: given the account itself, firebase-admin 14 fetches access tokens without our agent.
    const credential = cert(file, agent);
    const { project_id: projectId } = JSON.parse(readFileSync(file, 'utf8')) as { project_id: string };
    return initializeApp({ credential, httpAgent: agent, projectId }, `millrace-${++count}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`FCM_CREDENTIALS must name a service account's file; ${file}: ${why}`, { cause: error });
  }
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
