/** What an application sends, and the frame that says so. */
import { MillraceError } from '../protocol/errors.ts';
import type { SendFrame } from '../protocol/frames.ts';
import { contentProblem, isClientId } from '../protocol/ids.ts';
import { newClientId } from './random.ts';

/** Exactly one of `channel` and `to` (a user). */
export type Outgoing = ({ channel: string; to?: never } | { to: string; channel?: never }) & {
  content: string;
  metadata?: Record<string, string>;
  /** Chosen by the library unless given: the same one again never makes a second message. */
  client_id?: string;
};

/** Throws what the server would answer, where that can be known here. */
export function sendFrame(message: Outgoing, maxBytes: number): SendFrame {
  const { channel, to, content, metadata, client_id = newClientId() } = message;
  if ((channel === undefined) === (to === undefined)) {
    throw new MillraceError('bad_request', 'exactly one of channel and to');
  }
  if (!isClientId(client_id)) throw new MillraceError('bad_request', 'client_id: 1 to 64 printable ASCII characters');
  const problem = contentProblem(content, maxBytes);
  if (problem !== undefined) throw new MillraceError(problem, 'content is empty, too long, or not well-formed');
  const target = channel === undefined ? { to: to! } : { channel };
  return { type: 'send', client_id, ...target, content, ...(metadata === undefined ? {} : { metadata }) };
}
