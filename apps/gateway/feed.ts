/**
 * A user's inbox as this gateway reads it: one position for all the user's live sessions here.
 *
 * A session is *replaying* (reads the inbox for itself, from its own offset) until it has reached the feed's position,
 * then *live* (the feed's reads are sent to it). A session whose client does not read its socket leaves the live ones and
 * replays from its own offset when the socket has drained: nothing is buffered for it here.
 */
import { OwnReceipts } from './own-receipts.ts';
import type { Session } from './session.ts';

export class Feed {
  readonly user: string;
  readonly partition: number;
  readonly inboxKey: string;
  /** Up to here the live sessions have got everything. */
  position: string;
  readonly sessions = new Set<Session>();
  readonly live = new Set<Session>();
  readonly own = new OwnReceipts();
  /** Its inbox had the wrong type at the last read: when it can be read again, there is a gap. */
  broken = false;
  /** Tell the sessions of a gap before anything else. */
  gapPending = false;
  /** The store may have lost something: the next read looks for a gap before it hands anything out. */
  doubted = false;
  /** Counts rings: a replay that saw none while it read the end has not missed anything. */
  rings = 0;
  /** Why it is to be read. */
  cause: 'ring' | 'sweep' | 'replay' = 'ring';

  constructor(user: string, partition: number, inboxKey: string, position: string) {
    this.user = user;
    this.partition = partition;
    this.inboxKey = inboxKey;
    this.position = position;
  }
}
