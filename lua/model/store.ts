/**
 * The partitions' primaries and their replicas. Every call of a verb happens at a tick of its own, and is told to whoever
 * listens: that is how the same schedule also runs on the real scripts.
 */
import type { ArchiveRow } from '../../lib/archive/archive.ts';
import { markOf } from '../../lib/rebuild/conversation.ts';
import type { Mutant } from './mutants.ts';
import {
  type AppendReply,
  type Attached,
  type Batch,
  type DeliverReply,
  type Reasserted,
  type Restored,
  Scripts,
} from './scripts.ts';
import {
  ALICE,
  BOB,
  CAROL,
  CHANNELS,
  copyOf,
  DIRECT,
  type Entry,
  GROUP,
  HOME_OF_CHANNEL,
  HOME_OF_USER,
  NEVER,
  type Node,
  newNode,
  newUser,
  OWNER,
} from './state.ts';

/** What the tie repeats on a real Redis, with the reply that it must get. */
export type Call =
  | { verb: 'create'; message: number; members: number[] }
  | {
      verb: 'append';
      from: number;
      via: number;
      channel: number;
      clientId: number;
      message: number;
      reply: AppendReply;
    }
  | { verb: 'member'; user: number; add: boolean; message: number }
  | { verb: 'advance'; partition: number; to: number; keepTail: boolean; reply: number }
  | { verb: 'deliver'; batch: Batch; reply: DeliverReply }
  | { verb: 'attach'; user: number; device: number; session: number; since: number | undefined; reply: Attached }
  | { verb: 'detach'; user: number; device: number; session: number; reply: boolean }
  | { verb: 'reassert'; user: number; device: number; session: number; reached: number; reply: Reasserted }
  | { verb: 'restore'; user: number; marks: Restored[]; floor: number; reply: number }
  | { verb: 'ack'; user: number; device: number; offset: number; reply: boolean }
  | { verb: 'raise'; user: number; channel: number; delivered: number; reply: number | 'refused' }
  | { verb: 'week'; user: number; expire: boolean }
  | { verb: 'replicate'; partition: number }
  | { verb: 'failover'; partition: number };

/** `at`: the tick of the call. */
export type OnCall = (call: Call, at: number) => void;

function rowOf({ kind, seq, from }: Entry): ArchiveRow {
  const type = kind === 'message' ? kind : kind === 'created' ? kind : 'member';
  const text = { channel: '', id: '', logId: '', clientId: '' };
  return { ...text, seq, type, from: String(from), ts: 0 };
}

export class Store {
  readonly nodes: Node[] = [newNode(0), newNode(1)];
  readonly scripts: Scripts;
  /** How often each partition failed over. */
  readonly failovers = [0, 0];
  readonly #replicas: Node[] = this.nodes.map(copyOf);
  readonly #onCall: OnCall | undefined;

  constructor(mutant?: Mutant, onCall?: OnCall) {
    this.scripts = new Scripts(mutant);
    this.#onCall = onCall;
  }

  #tell(call: Call): void {
    this.#onCall?.(call, this.now);
  }

  get now(): number {
    return this.scripts.now;
  }

  breaks(mutant: Mutant): boolean {
    return this.scripts.breaks(mutant);
  }

  nodeOf(user: number): Node {
    return this.nodes[HOME_OF_USER[user]!]!;
  }

  nodeOfChannel(channel: number): Node {
    return this.nodes[HOME_OF_CHANNEL[channel]!]!;
  }

  create(message: number): void {
    this.scripts.now++;
    this.scripts.create(this.nodeOfChannel(GROUP), [ALICE, BOB], message);
    this.#tell({ verb: 'create', message, members: [ALICE, BOB] });
  }

  append(from: number, via: number, channel: number, clientId: number, message: number): AppendReply {
    this.scripts.now++;
    const reply = this.scripts.append(this.nodeOfChannel(channel), from, via, channel, clientId, message);
    this.#tell({ verb: 'append', from, via, channel, clientId, message, reply });
    return reply;
  }

  /** True when it made an event. */
  member(user: number, add: boolean, message: number): boolean {
    this.scripts.now++;
    const node = this.nodeOfChannel(GROUP);
    const made = add
      ? this.scripts.putMember(node, OWNER, user, message)
      : this.scripts.removeMember(node, OWNER, user, message);
    this.#tell({ verb: 'member', user, add, message });
    return made;
  }

  advance(partition: number, to: number, keepTail: boolean): void {
    this.scripts.now++;
    const reply = this.scripts.advance(this.nodes[partition]!, to, keepTail);
    this.#tell({ verb: 'advance', partition, to, keepTail, reply });
  }

  deliver(batch: Batch): DeliverReply {
    this.scripts.now++;
    const reply = this.scripts.deliver(this.nodes[batch.target]!, batch);
    this.#tell({ verb: 'deliver', batch, reply });
    return reply;
  }

  attach(user: number, device: number, session: number, since: number | undefined): Attached {
    this.scripts.now++;
    const reply = this.scripts.attach(this.nodeOf(user), user, device, session, since);
    this.#tell({ verb: 'attach', user, device, session, since, reply });
    return reply;
  }

  detach(user: number, device: number, session: number): void {
    this.scripts.now++;
    const reply = this.scripts.detach(this.nodeOf(user), user, device, session);
    this.#tell({ verb: 'detach', user, device, session, reply });
  }

  reassert(user: number, device: number, session: number, reached: number): Reasserted {
    this.scripts.now++;
    const reply = this.scripts.reassert(this.nodeOf(user), user, device, session, reached);
    this.#tell({ verb: 'reassert', user, device, session, reached, reply });
    return reply;
  }

  /** Puts the end of a conversation list back that is behind the floor, as `lib/rebuild` does. */
  restore(user: number): void {
    this.scripts.now++;
    const node = this.nodeOf(user);
    const { floor } = node;
    const marks = CHANNELS.flatMap((channel) => this.#archivedMark(user, channel) ?? []);
    const reply = this.scripts.restore(node, user, marks, floor);
    this.#tell({ verb: 'restore', user, marks, floor, reply });
  }

  /** The archive has at least what was trimmed. */
  #archivedMark(user: number, channel: number): Restored | undefined {
    const { log, logStart, channels } = this.nodeOfChannel(channel);
    const rows = log.filter((e) => e.channel === channel && e.id < logStart).map(rowOf);
    const own = log.findLast((e) => e.channel === channel && e.kind === 'message' && e.from === user);
    const mark = this.nodeOf(user).users[user]!.marks[channel];
    const intervals = channels[channel]!.members[user]!.map(
      ({ joined, left }) => `${joined}-${left === Number.POSITIVE_INFINITY ? '' : left}`,
    );
    const involved = channel === DIRECT ? user !== CAROL : intervals.length > 0 || mark !== undefined;
    if (!involved) return undefined;
    const found = markOf(String(channel), String(user), rows.reverse(), {
      mark: mark ? `${mark.last} 0 ${mark.unread} ${mark.read}${mark.left ? ' left' : ''}` : null,
      receipt: own ? `${own.seq} ${own.seq}` : null,
      member: channel === DIRECT ? undefined : intervals.length > 0 ? `member ${intervals.join(',')}` : null,
    });
    return found && { ...found, channel };
  }

  ack(user: number, device: number, offset: number): void {
    this.scripts.now++;
    const reply = this.scripts.ack(this.nodeOf(user), user, device, offset);
    this.#tell({ verb: 'ack', user, device, offset, reply });
  }

  raise(channel: number, user: number, delivered: number): void {
    this.scripts.now++;
    const reply = this.scripts.raise(this.nodeOfChannel(channel), channel, user, delivered);
    this.#tell({ verb: 'raise', user, channel, delivered, reply });
  }

  /** A week passes for a user of whom no session lives; `expire`: their inbox was not written to meanwhile. */
  week(user: number, expire: boolean): void {
    const state = this.nodeOf(user).users[user]!;
    for (const device of state.devices) if (device) device.seen = -10_000_000;
    if (state.seen !== NEVER) state.seen = -10_000_000;
    if (expire) {
      const { exists, last, items } = newUser(user);
      Object.assign(state, { exists, last, items });
    }
    this.#tell({ verb: 'week', user, expire });
  }

  /** The replica has everything: what WAIT waits for. */
  replicate(partition: number): void {
    this.#replicas[partition] = copyOf(this.nodes[partition]!);
    this.#tell({ verb: 'replicate', partition });
  }

  /** The replica is promoted. Returns what the log loses. */
  failover(partition: number): Entry[] {
    const before = this.nodes[partition]!;
    const after = copyOf(this.#replicas[partition]!);
    this.nodes[partition] = after;
    this.failovers[partition]!++;
    this.scripts.now += 2;
    this.#tell({ verb: 'failover', partition });
    return before.log.slice(after.log.length);
  }
}
