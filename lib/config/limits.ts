/** The limits of the protocol; `welcome.limits` tells clients those that concern them. */
export interface Limits {
  /** Sends per second, user and gateway, and how many at once on top of a quiet spell. */
  sendsPerS: number;
  burst: number;
  contentBytes: number;
  metadataBytes: number;
  frameBytes: number;
  bodyBytes: number;
  /** Sessions at once, and known devices, per user. */
  sessions: number;
  devices: number;
  /** Users watched per session. */
  watched: number;
  groupMembers: number;
  /** The largest group whose members see each other's receipts and typing. */
  receiptsUpTo: number;
  inboxEntries: number;
  inboxDays: number;
}

/** Those that are not variables: they shape the protocol, or belong to features that are not there yet. */
export const fixedLimits = { sendsPerS: 20, burst: 40, watched: 500, receiptsUpTo: 32, inboxDays: 7 } as const;
