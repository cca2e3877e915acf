/**
 * What the generator's clients say and hear: Millrace's frames, or those of a peer. Both dialects cost the generator about
 * the same: frames are put together as strings, and of what comes in only the first characters, and the last, are looked at.
 */
import type { Client } from './fleet.ts';
import type { DialectName } from './orders.ts';

/** What a frame is to the fleet. */
export type Heard =
  | 'message'
  /** `number` tells which message. */
  | 'accepted'
  | 'error'
  /** Not let in. */
  | 'refused'
  /** Not a message, and covered by the next ack all the same. */
  | 'entry'
  /** The other side waits for the client's first words. */
  | 'greeting'
  | 'ping'
  | 'live'
  /** Live, but not where it was before: what it missed will not come. */
  | 'live anew'
  | 'gap'
  | 'nothing';

export interface Dialect {
  /** What the upgrade asks for. */
  readonly path: string;
  /** How many characters of each frame's end `hear` is given. */
  readonly tail: number;
  /** The client speaks first, or waits for a greeting. */
  readonly speaksFirst: boolean;
  hello(client: Client): string;
  /** Keeps the client's place in what it hears. */
  hear(client: Client, head: string, tail: string): Heard;
  /** What to send; `address` as this dialect's `toUser` or `toChannel` gave it. */
  send(number: number, address: string, content: string): string;
  toUser(user: string): string;
  toChannel(channel: string): string;
  /** The number that `send` put into the message, or was given in an answer to it; below 0: none. */
  number(head: string): number;
  /** Of a message: when its store took it, as wall-clock milliseconds; 0 where it does not say. */
  appendedAt(head: string): number;
  /** Of an error. */
  code(head: string): string;
  /** What an error says, in ms, about sending the same again; undefined: it would be refused again. */
  retryAfterMs(head: string): number | undefined;
  readonly acks: boolean;
  ack(offset: string): string;
  /** Empty where the server pings. */
  readonly ping: string;
  readonly pong: string;
}

/** A client id as long as a UUID, the last twelve digits of which are the message's number. */
const ID_PREFIX = 'bench-00-0000-0000-0000-';
const ID_MARK = `"client_id":"${ID_PREFIX}`;

function idOf(number: number): string {
  return ID_PREFIX + String(number).padStart(12, '0');
}

function numberInId(head: string): number {
  const at = head.indexOf(ID_MARK);
  return at < 0 ? -1 : Number(head.slice(at + ID_MARK.length, at + ID_MARK.length + 12));
}

function textOf(head: string, name: string): string {
  const at = head.indexOf(`"${name}":"`);
  if (at < 0) return '';
  const start = at + name.length + 4;
  return head.slice(start, head.indexOf('"', start));
}

const millrace: Dialect = {
  path: '/v1/ws',
  tail: 0,
  speaksFirst: true,
  hello({ token, offset }) {
    const since = offset === '' ? '' : `,"since":"${offset}"`;
    return `{"type":"hello","device":"bench","token":"${token}"${since}}`;
  },
  hear(client, head) {
    switch (head.charCodeAt(9)) {
      case 0x6d /* m */:
        client.offset = textOf(head, 'offset');
        return head.charCodeAt(11) === 0x73 /* me_s_sage */ ? 'message' : 'entry';
      case 0x61 /* accepted */:
        return 'accepted';
      case 0x6c /* live */:
        client.offset = textOf(head, 'offset');
        return 'live';
      case 0x67 /* gap */:
        return 'gap';
      case 0x65 /* error */:
        return 'error';
      case 0x72 /* receipt: no reason for an ack, but covered by the next one */:
      case 0x63 /* created */:
        client.offset = textOf(head, 'offset');
    }
    return 'nothing';
  },
  send: (number, address, content) => `{"type":"send","client_id":"${idOf(number)}",${address},"content":"${content}"}`,
  toUser: (user) => `"to":"${user}"`,
  toChannel: (channel) => `"channel":"${channel}"`,
  number: numberInId,
  appendedAt(head) {
    const at = head.indexOf('"ts":');
    return at < 0 ? 0 : Number.parseInt(head.slice(at + 5, at + 20), 10);
  },
  code: (head) => textOf(head, 'code'),
  retryAfterMs(head) {
    if (!/^(rate_limited|unavailable|internal)$/.test(textOf(head, 'code'))) return undefined;
    return Number(/"retry_after_ms":(\d+)/.exec(head)?.[1] ?? 0);
  },
  acks: true,
  ack: (offset) => `{"type":"ack","offset":"${offset}"}`,
  ping: '{"type":"ping"}',
  pong: '',
};

/**
 * Engine.IO 4 and Socket.IO 5, as text over WebSocket (https://socket.io/docs/v4/socket-io-protocol/): `0` opens, `2` pings
 * and `3` answers, `40` connects, `42` is an event, with digits before its array when an answer is wanted, `43` that answer,
 * `44` a refusal. A client's place is its session's private id and the offset that ends each event
 * (https://socket.io/docs/v4/connection-state-recovery).
 */
const socketIo: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  tail: 32,
  speaksFirst: false,
  hello({ token, session, offset }) {
    const place = session === '' || offset === '' ? '' : `,"pid":"${session}","offset":"${offset}"`;
    return `40{"token":"${token}"${place}}`;
  },
  hear(client, head, tail) {
    if (head.charCodeAt(0) === 0x34 /* 4 */) {
      switch (head.charCodeAt(1)) {
        case 0x32 /* 2 */:
          if (tail.endsWith('"]')) client.offset = tail.slice(tail.lastIndexOf(',"') + 2, -2);
          return 'message';
        case 0x33 /* 3 */:
          return 'accepted';
        case 0x30 /* 0 */:
          {
            const before = client.session;
            client.session = textOf(head, 'pid');
            if (before === '' || before === client.session) return 'live';
            client.offset = '';
            return 'live anew';
          }
        case 0x34 /* 4 */:
          return 'refused';
      }
      return 'nothing';
    }
    return head.charCodeAt(0) === 0x30 ? 'greeting' : head.charCodeAt(0) === 0x32 ? 'ping' : 'nothing';
  },
  // The number is the answer's as well: unlike in the client library not one per socket, which the server does not mind.
  send: (number, address, content) =>
    `42${number}["send",{"client_id":"${idOf(number)}",${address},"content":"${content}"}]`,
  toUser: (user) => `"to":"${user}"`,
  toChannel: (channel) => `"channel":"${channel}"`,
  number: (head) => (head.charCodeAt(1) === 0x33 ? Number(head.slice(2, head.indexOf('['))) : numberInId(head)),
  appendedAt: () => 0,
  code: (head) => textOf(head, 'message'),
  retryAfterMs: () => undefined,
  acks: false,
  ack: () => '',
  ping: '',
  pong: '3',
};

export const dialects: Record<DialectName, Dialect> = { millrace, 'socket.io': socketIo };
