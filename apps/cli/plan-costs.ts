/**
 * What `millrace plan` reckons with. MEASURED are figures of one machine (two virtual cores of an Intel Xeon shared with the
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
  /** `npm run bench -- --scenario one-3000 group-100 group-500`: in groups a recipient's cost times the recipients. */
  messages: [
    { recipients: 1, gateways: 216, workers: 88, redis: 156 },
    { recipients: 99, gateways: 99 * 37, workers: 99 * 14, redis: 99 * 36 },
    { recipients: 499, gateways: 499 * 30, workers: 499 * 9, redis: 499 * 30 },
  ] as readonly MessageCost[],
  /** `npm run bench -- --scenario idle` */
  gatewayBytesPerConnection: 13 * 1024,
  /** `npm run bench -- --scenario memory`: bytes. */
  redis: {
    /** Who talks: what they have acked stays in the inbox until it is more than 32 entries. */
    user: 16_400,
    /** For each of the two in it, among 200. */
    conversation: 620,
    /** A message that waits in an inbox. */
    inboxEntry: 550,
    logEntry: 820,
    /** A client id that is still recognised. */
    dedupeEntry: 130,
  },
  /** `npm run bench -- --scenario archive`: a row in Cassandra, one copy of it. */
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
