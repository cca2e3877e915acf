/**
 * What `millrace plan` reckons with. MEASURED are figures of one machine, but for two that say so (two virtual cores of an AMD EPYC shared with the
 * load generator, Node 24.21, Redis 7.0.15, 500-byte messages), each beside the command that measures it again. CHOSEN are
 * decisions of ours: how full a machine may be, how many copies there are.
 */

export interface MessageCost {
  /** Who get the message, its sender not counted. */
  recipients: number;
  /** CPU-microseconds for the message and all its recipients, their acks and receipts included. */
  gateways: number;
  workers: number;
  redis: number;
}

export const MEASURED = {
  /**
   * `npm run bench -- --scenario one-1000 group-100 group-500 --seconds 12`, with nothing beside it. At 1,000 messages a
   * second they share less than at more (docs/performance.md). In groups: a recipient's cost times the recipients.
   */
  messages: [
    { recipients: 1, gateways: 549, workers: 215, redis: 382 },
    { recipients: 99, gateways: 99 * 57, workers: 99 * 15, redis: 99 * 57 },
    { recipients: 499, gateways: 499 * 52, workers: 499 * 10, redis: 499 * 53 },
  ] as readonly MessageCost[],
  /** `npm run bench -- --scenario idle`, on an older machine (Intel Xeon): bytes do not depend on it. */
  gatewayBytesPerConnection: 13 * 1024,
  /** `npm run bench -- --scenario memory`, one run, beside other work: bytes. */
  redis: {
    /** Who was there and is away, without their conversations. */
    user: 695,
    /** More for who is connected and talks: what they have acked stays in the inbox until it is more than 32 entries. */
    connection: 19_900,
    /** For each of the two in it, among 200. */
    conversation: 362,
    /** A message that waits in an inbox. */
    inboxEntry: 913,
    logEntry: 819,
    /** A client id that is still recognised. */
    dedupeEntry: 131,
  },
  /** `npm run bench -- --scenario archive`: a row in Cassandra, one copy of it; the CPU on that older machine too. */
  archive: { cpuMicrosPerRow: 650, bytesPerRow: 590 },
};

export const CHOSEN = {
  machine: { cores: 8, memoryBytes: 64e9, diskBytes: 4e12 },
  /** Of a core, of a machine's memory and disk: room for a failure beside, a rewrite of Redis' file, a peak in the peak. */
  fill: 0.5,
  /** The open-file limit of a process is 20,000 in many places, and a gateway that dies should not send everybody home. */
  connectionsPerGateway: 15_000,
  gatewayBaseBytes: 150 * 2 ** 20,
  workerBytes: 300 * 2 ** 20,
  replicasPerPrimary: 2,
  partitionsPerPrimary: 4,
  fewestPartitions: 16,
  cassandraCopies: 3,
  /** Without Cassandra the log grows in Redis: room for so long at the peak. */
  logS: 3600,
  /** The three windows in which a client id is recognised. */
  dedupeS: 5400,
  /** Messages a second at the peak, over those of a whole day's mean. */
  peakToMean: 3,
  /** Of each user, in the list of conversations. */
  conversationsPerUser: 50,
  /** What comes in so long waits in the inboxes of those who are not connected. */
  awayS: 86_400,
  inboxEntriesAtMost: 500,
  historyS: 365 * 86_400,
  /** Redis' file, beside the one that it is rewritten into, in sizes of its memory. */
  redisDiskPerMemory: 3,
};
