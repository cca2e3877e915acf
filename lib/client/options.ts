/** What a client can be told, and what it assumes otherwise. */
import { isDeviceId, isOffset } from '../protocol/ids.ts';
import { ACK_DELAY_MS, ACK_EVERY, ACK_INTERVAL_MS } from './acks.ts';
import { type ClientStorage, MemoryStorage } from './storage.ts';
import type { TokenOption } from './token.ts';

export interface MillraceClientOptions {
  /** Of the server: `https://chat.example.com` (or `wss:`; both are derived from either). */
  url: string;
  /** A JWT, or a function that makes one: called before each connection, and before the present one expires. */
  token: TokenOption;
  /** Names this device of the user: the same one again resumes, and replaces a session that is still there. */
  device: string;
  /** Resume after this offset, when the storage has none. */
  since?: string;
  /** Default: memory. */
  storage?: ClientStorage;
  /** For service tokens: on whose behalf. */
  user?: string;
  /** Default: the global WebSocket. */
  webSocket?: new (
    url: string,
  ) => WebSocket;
  fetch?: typeof fetch;
  /**
   * An ack is sent so long (ms) after the first message that it covers was handled, but no sooner than the interval after
   * the ack before it, unless so many messages have come meanwhile.
   */
  ackDelayMs?: number;
  ackIntervalMs?: number;
  ackEvery?: number;
  /** Reconnecting: full jitter between 0 and a bound that doubles from the first to the second (ms). */
  reconnectBaseMs?: number;
  reconnectCapMs?: number;
  /** From the beginning of an attempt to `welcome`. */
  connectTimeoutMs?: number;
  /** How long a ping may go without an answer before the connection counts as dead. */
  pongTimeoutMs?: number;
  /** Messages that may wait in an iterator before the client stops taking more from the server. */
  iteratorLimit?: number;
  /** Messages that may wait to be sent. */
  outboxLimit?: number;
  /** After a gap, how far back a channel is filled of which this client has seen nothing before (seqs). */
  unknownFill?: number;
  random?: () => number;
  now?: () => number;
}

export type Settled = Required<Omit<MillraceClientOptions, 'since' | 'user' | 'fetch'>> &
  Pick<MillraceClientOptions, 'since' | 'user' | 'fetch'> & { wsUrl: string; httpUrl: string };

export function settle(options: MillraceClientOptions): Settled {
  if (!isDeviceId(options.device)) throw new TypeError('device: 1 to 64 of A-Z a-z 0-9 _ . -');
  if (options.since !== undefined && !isOffset(options.since))
    throw new TypeError('since: not an offset of this server');
  const http = new URL(options.url);
  http.protocol = http.protocol.replace(/^ws/, 'http');
  if (!/^https?:$/.test(http.protocol)) throw new TypeError('url: http:, https:, ws: or wss:');
  const ws = new URL('/v1/ws', http);
  ws.protocol = http.protocol.replace(/^http/, 'ws');
  return {
    storage: new MemoryStorage(),
    webSocket: globalThis.WebSocket,
    ackDelayMs: ACK_DELAY_MS,
    ackIntervalMs: ACK_INTERVAL_MS,
    ackEvery: ACK_EVERY,
    reconnectBaseMs: 500,
    reconnectCapMs: 30_000,
    connectTimeoutMs: 10_000,
    pongTimeoutMs: 10_000,
    iteratorLimit: 1_000,
    outboxLimit: 10_000,
    unknownFill: 1_000,
    random: Math.random,
    now: Date.now,
    ...options,
    wsUrl: ws.href,
    httpUrl: http.origin,
  };
}
