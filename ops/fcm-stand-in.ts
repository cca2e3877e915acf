/**
 * Answers like Firebase Cloud Messaging (HTTP v1) and Google's token service, for tests: over TLS, under their own names.
 * It is reached as the HTTP proxy that the pusher is told to use (FCM_PROXY): whatever a CONNECT asks for, it is here. Its
 * certificate is by an authority of the test (NODE_EXTRA_CA_CERTS).
 */
import { createVerify, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { type Authority, createAuthority } from './certificates.ts';

const PROJECT = 'millrace-test';
const ACCESS_TOKEN = 'an-access-token-of-the-stand-in';

/** What FCM answers to one message; `hang`: nothing at all. */
export type Answer = 'ok' | 'unregistered' | 'invalid' | 'quota' | 'unavailable' | 'internal' | 'hang';

/** A message as FCM got it. */
export interface Received {
  token: string;
  at: number;
  answer: Answer;
  message: FcmMessage;
}

export interface FcmMessage {
  token: string;
  data?: Record<string, string>;
  notification?: { title?: string; body?: string };
  android?: Record<string, unknown>;
  apns?: { headers?: Record<string, string>; payload?: Record<string, unknown> };
  webpush?: { headers?: Record<string, string>; notification?: Record<string, unknown> };
}

const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError';
const REFUSALS: Record<Exclude<Answer, 'ok' | 'hang'>, [number, string, string]> = {
  unregistered: [404, 'NOT_FOUND', 'UNREGISTERED'],
  invalid: [400, 'INVALID_ARGUMENT', 'INVALID_ARGUMENT'],
  quota: [429, 'RESOURCE_EXHAUSTED', 'QUOTA_EXCEEDED'],
  unavailable: [503, 'UNAVAILABLE', 'UNAVAILABLE'],
  internal: [500, 'INTERNAL', 'INTERNAL'],
};

export class FcmStandIn {
  /** Every message, whatever was answered, in the order of their coming. */
  readonly received: Received[] = [];
  /** How often a service account was exchanged for an access token. */
  exchanges = 0;
  /** Decides each answer; by default all is well. */
  answer: (token: string) => Answer = () => 'ok';
  /** Told of each message as it comes. */
  heard: (received: Received) => void = () => undefined;
  /** The token service takes the question and never answers. */
  mute = false;
  /** Sent with `quota` and `unavailable`. */
  retryAfterS: number | undefined;
  /** A service account's file, as FCM_CREDENTIALS names it. */
  readonly credentialsFile: string;
  readonly authority: Authority;
  readonly #publicKey: string;
  readonly #proxy: Server;
  readonly #tls: TlsServer;
  readonly #sockets = new Set<Socket>();
  #count = 0;

  private constructor() {
    this.authority = createAuthority();
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.#publicKey = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    this.credentialsFile = join(this.authority.dir, 'service-account.json');
    const account = {
      type: 'service_account',
      project_id: PROJECT,
      private_key_id: 'stand-in',
      private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      client_email: `pusher@${PROJECT}.iam.gserviceaccount.com`,
      client_id: '1',
      token_uri: 'https://oauth2.googleapis.com/token',
    };
    writeFileSync(this.credentialsFile, JSON.stringify(account), { mode: 0o600 });
    const names = ['DNS:fcm.googleapis.com', 'DNS:oauth2.googleapis.com', 'DNS:www.googleapis.com'];
    const { cert, key } = this.authority.issue('fcm.googleapis.com', { names });
    this.#tls = createTlsServer({ cert, key }, (request, response) => void this.#serve(request, response));
    this.#proxy = createServer((_, response) => response.writeHead(405).end());
    this.#proxy.on('connect', (_request, socket: Socket) => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      this.#tls.emit('connection', socket);
    });
    this.#proxy.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(): Promise<FcmStandIn> {
    const standIn = new FcmStandIn();
    await new Promise<void>((resolve, reject) => {
      standIn.#proxy.once('error', reject);
      standIn.#proxy.listen(0, '127.0.0.1', resolve);
    });
    return standIn;
  }

  get proxyUrl(): string {
    return `http://127.0.0.1:${(this.#proxy.address() as AddressInfo).port}`;
  }

  /** What a pusher's environment needs to reach it. */
  get env(): Record<string, string> {
    return {
      FCM_CREDENTIALS: this.credentialsFile,
      FCM_PROXY: this.proxyUrl,
      NODE_EXTRA_CA_CERTS: this.authority.caFile,
    };
  }

  /** The messages that were taken, for these tokens or all. */
  sent(token?: string): FcmMessage[] {
    return this.received
      .filter((r) => r.answer === 'ok' && (token === undefined || r.token === token))
      .map((r) => r.message);
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#proxy.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    if (request.headers.host?.startsWith('oauth2.') || request.url?.startsWith('/oauth2/')) {
      this.#exchange(body, response);
      return;
    }
    if (request.method !== 'POST' || request.url !== `/v1/projects/${PROJECT}/messages:send`) {
      return json(response, 404, { error: { code: 404, status: 'NOT_FOUND', message: `no ${request.url}` } });
    }
    if (request.headers.authorization !== `Bearer ${ACCESS_TOKEN}`) {
      return json(response, 401, { error: { code: 401, status: 'UNAUTHENTICATED', message: 'no access token' } });
    }
    const { message } = JSON.parse(body) as { message: FcmMessage };
    const answer = this.answer(message.token);
    const received = { token: message.token, at: performance.now(), answer, message };
    this.received.push(received);
    this.heard(received);
    if (answer === 'hang') return;
    if (answer === 'ok') return json(response, 200, { name: `projects/${PROJECT}/messages/${++this.#count}` });
    const [code, status, errorCode] = REFUSALS[answer];
    if (this.retryAfterS !== undefined && (code === 429 || code === 503)) {
      response.setHeader('retry-after', String(this.retryAfterS));
    }
    json(response, code, {
      error: { code, status, message: `the stand-in says ${answer}`, details: [{ '@type': FCM_ERROR, errorCode }] },
    });
  }

  /** RFC 7523: an assertion that the service account's own key has signed, for an access token. */
  #exchange(body: string, response: ServerResponse): void {
    const [head = '', claims = '', signature = ''] = (new URLSearchParams(body).get('assertion') ?? '').split('.');
    const signed = createVerify('RSA-SHA256').update(`${head}.${claims}`);
    if (!signed.verify(this.#publicKey, signature, 'base64url')) {
      json(response, 400, { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' });
      return;
    }
    this.exchanges++;
    if (this.mute) return;
    json(response, 200, { access_token: ACCESS_TOKEN, expires_in: 3600, token_type: 'Bearer' });
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=UTF-8' }).end(JSON.stringify(body));
}
