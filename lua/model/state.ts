/**
 * What one partition's primary holds, as small as the promises allow: two channels, three users, two partitions. All ids
 * are numbers, `clock × IDS_PER_TICK + n`, as a stream's id is milliseconds and a counter.
 *
 * A partition is one node: a failover puts back the log, the channels, the inboxes and the cursors together.
 */

export const PARTITIONS = 2;
export const ALICE = 0;
export const BOB = 1;
export const CAROL = 2;
export const USERS = [ALICE, BOB, CAROL];
/** Of the group. */
export const OWNER = ALICE;
/** How many devices each has. */
export const DEVICES = [2, 1, 1];
/** Where each lives: somebody whose channel is here, somebody whose channel is there, two of one partition. */
export const HOME_OF_USER = [0, 1, 1];

export const DIRECT = 0;
export const GROUP = 1;
export const CHANNELS = [DIRECT, GROUP];
export const HOME_OF_CHANNEL = [0, 1];

export const IDS_PER_TICK = 16;
/** So small that inboxes overflow all the time. */
export const INBOX_ENTRIES = 4;
/** An ack trims only an inbox that holds more. */
export const KEEP_BEFORE_TRIM = 1;
/** Ticks: longer than any schedule, so users fall asleep only when a step says that a week has passed. */
export const DORMANT_AFTER = 1_000_000;
export const NEVER = -1;

/** From a joining to a leaving, both included. */
export interface Interval {
  readonly joined: number;
  /** Infinity while a member. */
  readonly left: number;
}

export interface Entry {
  readonly id: number;
  readonly channel: number;
  readonly seq: number;
  readonly from: number;
  /** Which message of the whole run this is: its id on the wire. */
  readonly message: number;
  readonly clientId: number;
  /** The sending device; -1 for what an API call did. */
  readonly via: number;
  readonly kind: 'message' | 'created' | 'added' | 'removed';
  /** Whose membership changed. */
  readonly user: number;
  /** The members version that it was accepted under. */
  readonly mv: number;
}

export interface Channel {
  seq: number;
  membersVersion: number;
  /** By user; of the group. */
  members: (readonly Interval[])[];
  /** By user: the delivered watermark. */
  delivered: number[];
}

export interface Item {
  readonly offset: number;
  readonly entry: Entry;
}

export interface Device {
  acked: number;
  seen: number;
}

export interface Mark {
  readonly last: number;
  readonly unread: number;
  readonly read: number;
  readonly left: boolean;
}

export interface User {
  /** The inbox stream is there, if only empty. */
  exists: boolean;
  /** Its last generated id. */
  last: number;
  items: Item[];
  trimmed: number;
  /** The floor after which the list of conversations was put back. */
  floor: number;
  seen: number;
  devices: (Device | undefined)[];
  /** By device: the session's number. */
  sessions: (number | undefined)[];
  /** By channel. */
  marks: (Mark | undefined)[];
}

export interface Node {
  /** Never shortened but by a failover: `logTrimmed` says what is gone from Redis, and the archive still has. */
  log: Entry[];
  /** Its last generated id. */
  logLast: number;
  logTrimmed: number;
  /** The lowest log id that is still there. */
  logStart: number;
  position: number;
  channels: (Channel | undefined)[];
  cursors: number[];
  floor: number;
  users: (User | undefined)[];
}

export function newUser(user: number): User {
  const none = () => new Array(DEVICES[user]).fill(undefined);
  return {
    exists: false,
    last: 0,
    items: [],
    trimmed: NEVER,
    floor: NEVER,
    seen: NEVER,
    devices: none(),
    sessions: none(),
    marks: [undefined, undefined],
  };
}

export function newNode(partition: number): Node {
  return {
    log: [],
    logLast: 0,
    logTrimmed: NEVER,
    logStart: 0,
    position: NEVER,
    channels: CHANNELS.map((c) =>
      HOME_OF_CHANNEL[c] === partition
        ? { seq: 0, membersVersion: 0, members: [[], [], []], delivered: [0, 0, 0] }
        : undefined,
    ),
    cursors: [0, 0],
    floor: NEVER,
    users: USERS.map((u) => (HOME_OF_USER[u] === partition ? newUser(u) : undefined)),
  };
}

/** What a replica has: later writes to the original do not reach it. */
export function copyOf(node: Node): Node {
  return {
    ...node,
    log: node.log.slice(),
    channels: node.channels.map((c) => c && { ...c, members: c.members.slice(), delivered: c.delivered.slice() }),
    cursors: node.cursors.slice(),
    users: node.users.map(
      (u) =>
        u && {
          ...u,
          items: u.items.slice(),
          devices: u.devices.map((d) => d && { ...d }),
          sessions: u.sessions.slice(),
          marks: u.marks.slice(),
        },
    ),
  };
}
