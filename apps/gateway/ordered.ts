/**
 * One append per session and channel at a time: a sender's order is kept, over messages, edits and deletions, whatever
 * happens to the first (design, rule 8).
 */
import type { Session } from './session.ts';

export async function inOrder<T>(session: Session, channel: string, append: () => Promise<T>): Promise<T> {
  session.sending ??= new Map();
  const { sending } = session;
  const before = sending.get(channel);
  const mine = before ? before.then(append, append) : append();
  sending.set(channel, mine);
  try {
    return await mine;
  } finally {
    if (sending.get(channel) === mine) sending.delete(channel);
  }
}
