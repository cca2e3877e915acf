/**
 * What must be noticed. Each mutant breaks one rule of the scripts, of the workers or of the gateway, in the model only;
 * where a rule stands, the code asks `breaks('…')`. A model in which one of these does no harm would prove nothing.
 */
export const MUTANTS = {
  'behind-accepted': 'deliver applies a batch although the target is behind it',
  'batch-again': 'deliver applies what lies at or below the cursor: a zombie’s batch, a repeated call',
  'cursor-apart': 'deliver writes the inboxes and leaves the cursor to a second call, made after the answer',
  'ids-as-text': 'deliver compares log ids as text',
  'behind-resent': 'a worker that is told `behind` sends the same batch again, from the target’s cursor',
  'start-at-end': 'a worker that takes over starts at the end of the log, not at the targets’ cursors',
  'hole-unnoticed': 'a worker does not look whether what comes next was trimmed before it read on',
  'floor-forgotten': 'deliver jumps over what the log no longer has, and sets no floor',
  'list-left-behind': 'a gap after a floor names the conversations as the failover left them',
  'log-trim-unmarked': 'advance trims the log and does not raise its `trimmed`',
  'trim-unmarked': 'deliver trims a full inbox and does not raise `trimmed`',
  'sleep-unnoticed': 'attach and assert do not look whether the device was away for a week',
  'trim-by-first': 'an ack trims what the first device has acked, not what all have',
  'own-copy-omitted': 'deliver gives a sender’s other devices no copy',
  'accepted-unreplicated': 'a sender is told `accepted` before a replica has the message (ACK_REPLICAS)',
  'read-unreplicated': 'a worker delivers what no replica has yet (ACK_REPLICAS)',
  'members-kept': 'a worker still uses the members that it knows after a replica was promoted',
  'members-cached': 'a worker uses the members that it knows, however new the entry’s `mv`',
  'members-now': 'who receives an event is who is a member when it is delivered',
  'repeat-appended': 'append takes the same client id again for another message',
  'seq-of-length': 'append counts the entries that the log still has, and makes that the sequence number',
  'future-since': 'attach starts a session at a `since` that the clock has not reached',
  'attach-at-end': 'attach starts a session without `since` at the inbox’s end, not at the device’s ack',
  'since-unchecked': 'attach does not compare the position with `trimmed`',
  'stranger-unnoticed': 'attach tells no gap to a device with a `since` that the store does not know',
  'overflow-unchecked': 'a live session that reads a full batch does not look at `trimmed`',
  'never-asserted': 'sessions are not asserted again after a failover',
  'ack-before-receipts': 'an ack is stored before the watermarks that it covers are raised',
} as const;

export type Mutant = keyof typeof MUTANTS;
