/** What an application sends, and the frame that says so. */
import { MillraceError } from '../protocol/errors.ts';
import type { DeleteFrame, EditFrame, SendFrame } from '../protocol/frames.ts';
import { contentProblem, isClientId } from '../protocol/ids.ts';
import { newClientId } from './random.ts';

/** Exactly one of `channel` and `to` (a user). */
export type Outgoing = ({ channel: string; to?: never } | { to: string; channel?: never }) & {
  content: string;
  metadata?: Record<string, string>;
  /** Chosen by the library unless given: the same one again never makes a second message. */
  client_id?: string;
};

/** One's own message, by its place in the channel. */
export interface Deletion {
  channel: string;
  seq: number;
  /** Chosen by the library unless given: the same one again is the same change. */
  client_id?: string;
}

export interface Edit extends Deletion {
  content: string;
}

/** What waits in the outbox until the server has accepted it. */
export type OutboxFrame = SendFrame | EditFrame | DeleteFrame;

/** Throws what the server would answer, where that can be known here. */
export function sendFrame(message: Outgoing, maxBytes: number): SendFrame {
  const { channel, to, content, metadata, client_id = newClientId() } = message;
  if ((channel === undefined) === (to === undefined)) {
    throw new MillraceError('bad_request', 'exactly one of channel and to');
  }
  checkClientId(client_id);
  checkContent(content, maxBytes);
  const target = channel === undefined ? { to: to! } : { channel };
  return { type: 'send', client_id, ...target, content, ...(metadata === undefined ? {} : { metadata }) };
}

export function editFrame({ channel, seq, content, client_id = newClientId() }: Edit, maxBytes: number): EditFrame {
  checkClientId(client_id);
  checkContent(content, maxBytes);
  return { type: 'edit', client_id, channel, seq, content };
}

export function deleteFrame({ channel, seq, client_id = newClientId() }: Deletion): DeleteFrame {
  checkClientId(client_id);
  return { type: 'delete', client_id, channel, seq };
}

function checkClientId(id: string): void {
  if (!isClientId(id)) throw new MillraceError('bad_request', 'client_id: 1 to 64 printable ASCII characters');
}

function checkContent(content: string, maxBytes: number): void {
  const problem = contentProblem(content, maxBytes);
  if (problem !== undefined) throw new MillraceError(problem, 'content is empty, too long, or not well-formed');
}
