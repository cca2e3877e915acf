/**
 * Every Redis key, built in this one place. `lua/README.md` says what each holds.
 *
 * Ids come in only after validation (no braces, no white space), so a key's hash tag is always the one put here.
 */
import { partitionOf, tagOf } from '../partitions/slices.ts';

/** Roles that work through a partition's log; each has a position in `positions:{p}`. */
export type LogRole = 'fanout' | 'archiver';

/** Ids whose partition is remembered: a few megabytes. */
const KNOWN_IDS = 20_000;

export type Keyspace = ReturnType<typeof keyspace>;

/** The deployment's settings: field `partitions`. */
export const DEPLOYMENT_KEY = 'millrace';

/** Dedupe windows last this long; the current one and the two before it are looked up. */
export const DEDUPE_WINDOW_MS = 30 * 60_000;

/**
 * `oneNode`: all partitions are on one server (no cluster), so a gateway needs one bell and not one per partition: at 16
 * partitions each wake would cost 16 look-ups and as many blocked keys. All processes of a deployment agree, because they
 * have the same REDIS_URL.
 */
export function keyspace(partitions: number, { oneNode = false } = {}) {
  const tags = Array.from({ length: partitions }, (_, p) => `{${tagOf(p, partitions)}}`);
  const at = (p: number): string => tags[p] ?? outOfRange(p);
  // One event asks for the same ids' partitions a dozen times, and a CRC over UTF-8 is not free.
  const known = new Map<string, number>();
  const partition = (id: string): number => {
    let p = known.get(id);
    if (p === undefined) {
      p = partitionOf(id, partitions);
      if (known.size >= KNOWN_IDS) known.clear();
      known.set(id, p);
    }
    return p;
  };
  const of = (id: string): string => at(partition(id));
  return {
    partitions,
    partitionOf: partition,
    /** `{17.b}`, braces included. */
    tag: at,

    // A partition's own
    log: (p: number) => `log:${at(p)}`,
    /** The partition began on an empty archive: what is missing here is new. */
    born: (p: number) => `born:${at(p)}`,
    /** How often the store has lost the partition, this time included, once it had to be known. */
    losses: (p: number) => `losses:${at(p)}`,
    positions: (p: number) => `positions:${at(p)}`,
    cursor: (p: number) => `cursor:${at(p)}`,
    dead: (p: number) => `dead:${at(p)}`,
    /** Users whose erasure is running. */
    erasures: (p: number) => `erasures:${at(p)}`,
    /** What the archive is to be told of blocks, push tokens and watermarks. */
    unsaved: (p: number) => `unsaved:${at(p)}`,
    /** Wake-ups to send to devices that are away. */
    push: (p: number) => `push:${at(p)}`,
    lease: (p: number, role: string) => `lease:${at(p)}:${role}`,
    /** Registry of the gateways that serve users here. */
    gateways: (p: number) => `gateways:${at(p)}`,
    gatewayLease: (p: number, gateway: string) => `gateway:${at(p)}:${gateway}`,
    served: (p: number, gateway: string) => `served:${at(p)}:${gateway}`,
    leaving: (p: number) => `leaving:${at(p)}`,
    /** Sharded channel for what passes through a gateway to its sessions (typing). */
    signal: (p: number, gateway: string) => `signal:${at(oneNode ? 0 : p)}:${gateway}`,
    bell: (p: number, gateway: string) => `bell:${at(oneNode ? 0 : p)}:${gateway}`,
    /** Registry of a role's live workers, in partition 0. */
    workers: (role: string) => `workers:${at(0)}:${role}`,

    /** Whose a push token is, in the partition of the token's hash (in hexadecimal). */
    pushToken: (hash: string) => `push_token:${of(hash)}:${hash}`,
    // For the whole deployment, in the partition of whatever is counted
    bucket: (what: 'channels' | 'connections', whose: string) => `bucket:${of(whose)}:${what}:${whose}`,

    // A channel's, in the channel's partition
    channel: (channel: string) => `channel:${of(channel)}:${channel}`,
    members: (channel: string) => `members:${of(channel)}:${channel}`,
    /** Watermarks of a group's members; a direct channel's are in its own hash. */
    receipts: (channel: string) => `receipts:${of(channel)}:${channel}`,
    dedupe: (channel: string, window: number) => `dedupe:${of(channel)}:${channel}:${window}`,

    // A user's, in the user's partition
    inbox: (user: string) => `inbox:${of(user)}:${user}`,
    devices: (user: string) => `devices:${of(user)}:${user}`,
    conversations: (user: string) => `conversations:${of(user)}:${user}`,
    sessions: (user: string) => `sessions:${of(user)}:${user}`,
    erasure: (user: string) => `erasure:${of(user)}:${user}`,
    blocks: (user: string) => `blocks:${of(user)}:${user}`,
    blockedBy: (user: string) => `blocked_by:${of(user)}:${user}`,
    /** Also the name of the sharded channel on which its changes are published. */
    presence: (user: string) => `presence:${of(user)}:${user}`,
  };
}

function outOfRange(p: number): never {
  throw new RangeError(`no such partition: ${p}`);
}
