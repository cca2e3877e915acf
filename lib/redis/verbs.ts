/**
 * One typed method per script of `lua/`: builds its keys, orders its arguments, names its reply.
 */
import type { LogRole } from '../keyspace/index.ts';
import { beingErased } from '../protocol/errors.ts';
import { DedupeWindow, type OtherWindow } from './dedupe-window.ts';
import { type Block, type BlockReply, deliverCall, type Lost, lostIn } from './delivery.ts';
import { CROWDED, type LogBounds } from './log-size.ts';
import { ScriptCaller } from './script-caller.ts';
import type { ScriptHost } from './scripts.ts';

/** Bounds that the scripts keep; design §10. */
export const INBOX_ENTRIES = 500;
export const INBOX_TTL_MS = 7 * 24 * 3600_000;
export const DORMANT_AFTER_MS = 7 * 24 * 3600_000;
/** A bell that held more was cut: a read that comes back with this many has lost some. */
export const BELL_ENTRIES = 1000;
/** How many devices of a user are known at most, unless configured otherwise. */
export const KNOWN_DEVICES = 8;
/** Acked entries are trimmed once an inbox holds more than this: trimming each time would cost more than it frees. */
export const KEEP_BEFORE_TRIM = 32;

export interface AppendInput {
  channel: string;
  kind: 'direct' | 'group';
  /** Whether a direct channel that does not exist may be made; else the reply is `new`. */
  mayCreate?: boolean;
  /** With `mayCreate`, after a reply `rebuild`: the archive was asked, and has no such channel. */
  absent?: boolean;
  from: string;
  clientId: string;
  /** Version 1 UUID. */
  id: string;
  content: string;
  /** JSON. */
  metadata?: string;
  name?: string;
  /** The sending device; absent over HTTP. */
  via?: string;
  snippet: string;
}
/** `members`: how many a group has; not told of a duplicate. `rebuild`: the channel may have been lost, see `Rebuilder`. */
export type AppendReply =
  | {
      seq: number;
      id: string;
      ts: number;
      duplicate: boolean;
      /** It says by itself that its sender has read what others wrote, and that is news to them. */
      covers: boolean;
      /** Of a group. */
      members?: number;
    }
  | 'not_found'
  | 'forbidden'
  | 'new'
  | 'rebuild';

type AppendedOne =
  | ['ok', number, string, number, number, number, number?]
  | ['not_found' | 'forbidden' | 'new' | 'rebuild']
  | ['error', string];

function appended(reply: AppendedOne): AppendReply | Error {
  if (reply[0] === 'error') return new Error(reply[1]);
  if (reply[0] !== 'ok') return reply[0];
  const [, seq, id, ts, duplicate, covers, members] = reply;
  return {
    seq,
    id,
    ts,
    duplicate: duplicate === 1,
    covers: covers === 1,
    ...(members === undefined ? {} : { members }),
  };
}

export interface AttachInput {
  user: string;
  device: string;
  session: string;
  gateway: string;
  since?: string;
  maxSessions: number;
  /** 8 by default. */
  maxDevices?: number;
}
export interface Attached {
  /** Where the replay starts. */
  position: string;
  /** The inbox's end at this moment. */
  tail: string;
  /** What is stored as the device's ack; before `position` when a `since` went beyond it, which is then to be acked. */
  acked: string;
  first: boolean;
  gap: boolean;
  oldest: string | null;
  replaced: { gateway: string; session: string } | null;
  /** The user was offline before. */
  online: boolean;
  /** The user's conversation list may have been lost: see `Rebuilder`. */
  lost: boolean;
}

export interface DetachInput {
  user: string;
  device: string;
  session: string;
  gateway: string;
  /** Unix ms; only from the reaper of a dead gateway, which did not say itself when its sessions ended. */
  endedAt?: number;
}
export interface AckInput {
  user: string;
  device: string;
  offset: string;
  /** It is news for the user's other devices, and they have yet to be told. */
  untold?: boolean;
  /** The device had too few entries, since it last said otherwise, for a look whether its inbox holds enough to trim. */
  few?: boolean;
}

/** Not when another session has taken its place; `refused`: the gateway that was taken for dead lives. */
export type Detached = 'detached' | 'not' | 'refused';

/** What `reassert` found: see `lua/reassert.lua`. */
export type Reasserted = 0 | 1 | 2 | 3 | 4 | 5;

/** Who changes a group. `service`: a service token, which manages every group. */
export interface Actor {
  user: string;
  service: boolean;
}
export type GroupReply = 'ok' | 'not_found' | 'forbidden' | 'conflict' | 'bad_request';

export interface NewGroup {
  channel: string;
  /** Of the event. */
  id: string;
  clientId: string;
  title: string;
  /** The creator first. */
  members: readonly string[];
  /** After a reply `rebuild`: the archive was asked, and has none. `again`: one of the same id may have been lost. */
  known?: 'absent' | 'again';
}

export class Verbs extends ScriptCaller<ScriptHost> {
  readonly #window = new DedupeWindow();

  async append(message: AppendInput): Promise<AppendReply> {
    const [reply] = await this.appendAll([message]);
    if (reply instanceof Error || reply === undefined) throw reply;
    return reply;
  }

  /** All the channels must be of partitions that one command may touch. What is wrong with one message is its own reply. */
  async appendAll(messages: readonly AppendInput[]): Promise<(AppendReply | Error)[]> {
    const replies = await this.#window.call((window) => {
      const keys: string[] = [];
      const args: (string | number)[] = [window];
      for (const m of messages) {
        const p = this.keys.partitionOf(m.channel);
        keys.push(this.keys.channel(m.channel), this.keys.log(p), this.keys.dedupe(m.channel, window));
        keys.push(this.keys.unsaved(p));
        if (m.kind === 'group') keys.push(this.keys.members(m.channel), this.keys.receipts(m.channel));
        const kind = m.mayCreate && m.kind === 'direct' ? (m.absent ? 'begin' : 'create') : m.kind;
        args.push(m.from, m.clientId, m.id, m.channel, kind, m.content);
        args.push(m.metadata ?? '', m.name ?? '', m.via ?? '', m.snippet);
      }
      const partition = this.keys.partitionOf(messages[0]?.channel ?? '');
      return this.runInLane<OtherWindow | AppendedOne[]>(partition, 'append', keys, args);
    });
    return replies.map(appended);
  }

  /** Throws MillraceError `unavailable` while the user is being erased. */
  async attach(a: AttachInput): Promise<Attached | 'too_many'> {
    const { user } = a;
    const p = this.keys.partitionOf(user);
    type Reply =
      | ['ok', string, string, number, number, string, string, string, string, number, number]
      | ['too_many']
      | ['erasing'];
    const reply = await this.run<Reply>(
      'attach',
      [
        ...[this.keys.inbox(user), this.keys.devices(user), this.keys.sessions(user), this.keys.cursor(p)],
        ...[...this.#presenceKeys(user, a.gateway), this.keys.erasure(user), this.keys.born(p)],
        this.keys.unsaved(p),
      ],
      // prettier-ignore
      [
        a.device,
        a.session,
        a.gateway,
        a.since ?? '',
        a.maxSessions,
        INBOX_TTL_MS,
        DORMANT_AFTER_MS,
        this.keys.bell(p, ''),
        BELL_ENTRIES,
        user,
        a.maxDevices ?? KNOWN_DEVICES,
      ],
    );
    if (reply[0] === 'too_many') return 'too_many';
    if (reply[0] === 'erasing') throw beingErased();
    const [, position, tail, first, gap, oldest, gateway, session, acked, online, lost] = reply;
    return {
      position,
      tail,
      acked,
      first: first === 1,
      gap: gap === 1,
      oldest: oldest || null,
      replaced: session ? { gateway, session } : null,
      online: online === 1,
      lost: lost === 1,
    };
  }

  async detach({ user, device, session, gateway, endedAt }: DetachInput): Promise<Detached> {
    const p = this.keys.partitionOf(user);
    const reply = await this.run<number>(
      'detach',
      [
        ...[this.keys.sessions(user), this.keys.devices(user), this.keys.inbox(user), this.keys.leaving(p)],
        ...[this.keys.served(p, gateway), this.keys.gatewayLease(p, gateway), this.keys.push(p)],
      ],
      [device, session, DORMANT_AFTER_MS, user, endedAt ?? ''],
    );
    return reply === 1 ? 'detached' : reply === 0 ? 'not' : 'refused';
  }

  /** All the users must be of partitions that one command may touch. */
  reassert(
    gateway: string,
    sessions: readonly { user: string; device: string; session: string; offset: string }[],
  ): Promise<Reasserted[]> {
    const keys = sessions.flatMap(({ user }) => [
      this.keys.sessions(user),
      this.keys.devices(user),
      this.keys.inbox(user),
      this.keys.cursor(this.keys.partitionOf(user)),
      ...this.#presenceKeys(user, gateway),
    ]);
    const args = sessions.flatMap(({ user, device, session, offset }) => [user, device, session, offset]);
    return this.run<Reasserted[]>('reassert', keys, [gateway, INBOX_TTL_MS, DORMANT_AFTER_MS, ...args]);
  }

  /**
   * All the users must be of partitions that one command may touch. `company`: which acks wait, because another device of
   * the user is connected and has yet to be told.
   */
  async ack(acks: readonly AckInput[]): Promise<{ raised: number; company: Set<number> }> {
    const keys: string[] = [];
    const args: (string | number)[] = [DORMANT_AFTER_MS, KEEP_BEFORE_TRIM];
    for (const { user, device, offset, untold, few } of acks) {
      keys.push(this.keys.devices(user), this.keys.inbox(user));
      if (untold) keys.push(this.keys.sessions(user));
      args.push(device, offset, untold ? (few ? 'untold' : 'untold trim') : few ? '' : 'trim');
    }
    const partition = this.keys.partitionOf(acks[0]?.user ?? '');
    const [raised = 0, ...company] = await this.runHasty<number[]>(partition, 'ack', keys, args);
    return { raised, company: new Set(company.map((n) => n - 1)) };
  }

  /** All the blocks' targets must be partitions that one command may touch. */
  async deliver(
    blocks: readonly Block[],
  ): Promise<{ replies: BlockReply[]; rings: number; setAside: number; written: number; lost: Lost[] }> {
    const { keys, args, order } = deliverCall(this.keys, blocks);
    const bounds = [INBOX_ENTRIES, INBOX_TTL_MS, DORMANT_AFTER_MS, BELL_ENTRIES];
    const reply = await this.runHasty<[BlockReply['status'], string, string?][]>(
      blocks[0]?.target ?? 0,
      'deliver',
      keys,
      [...bounds, ...args],
    );
    type Last = ['rings', number, number, number, (number | string)[]];
    const [, rings, setAside, written, lost] = reply.pop() as unknown as Last;
    const replies: BlockReply[] = [];
    for (const [n, [status, cursor, error]] of reply.entries()) {
      replies[order[n] ?? 0] = { status, cursor, ...(error ? { error } : {}) };
    }
    return { replies, rings, setAside, written, lost: lostIn(blocks, lost) };
  }

  async create(g: NewGroup): Promise<'created' | 'exists' | 'rebuild'> {
    const creator = g.members[0] ?? '';
    return this.runInLane(this.keys.partitionOf(g.channel), 'create', this.#groupKeys(g.channel), [
      g.channel,
      creator,
      g.id,
      g.clientId,
      g.title,
      g.known ?? 'new',
      ...g.members,
    ]);
  }

  rename(channel: string, actor: Actor, id: string, title: string): Promise<GroupReply> {
    return this.runInLane(this.keys.partitionOf(channel), 'rename', this.#groupKeys(channel), [
      channel,
      actor.user,
      actor.service ? 1 : 0,
      id,
      title,
    ]);
  }

  putMember(channel: string, actor: Actor, ids: [string, string], user: string, role: string, most: number) {
    const args = [channel, actor.user, actor.service ? 1 : 0, ...ids, user, role, most];
    return this.runInLane<GroupReply>(this.keys.partitionOf(channel), 'put_member', this.#groupKeys(channel), args);
  }

  removeMember(channel: string, actor: Actor, ids: [string, string], user: string) {
    const args = [channel, actor.user, actor.service ? 1 : 0, ...ids, user];
    return this.runInLane<GroupReply>(this.keys.partitionOf(channel), 'remove_member', this.#groupKeys(channel), args);
  }

  /** Raises a role's position; returns how many entries could be trimmed from the log. */
  advance(
    p: number,
    role: LogRole,
    to: string,
    { tailMs, logMaxEntries, logMaxBytes }: LogBounds & { tailMs: number },
    roles: readonly LogRole[],
  ): Promise<number> {
    const args = [role, to, tailMs, Math.floor(logMaxEntries * CROWDED), Math.floor(logMaxBytes * CROWDED), ...roles];
    return this.runHasty<number>(p, 'advance', [this.keys.positions(p), this.keys.log(p)], args);
  }

  /** A channel's entries, or its changes alone, backwards from a log id, newest first; `next` is where to go on. */
  async walk(channel: string, from: string, lowestSeq: number, hops: number, link: 'prev' | 'prior' = 'prev') {
    const [next, ...entries] = await this.run<[string, ...[string, string[]][]]>(
      'walk',
      [this.keys.log(this.keys.partitionOf(channel))],
      [from, lowestSeq, hops, link],
    );
    return { next: next || null, entries: entries.map(([id, fields]) => ({ id, fields })) };
  }

  #presenceKeys(user: string, gateway: string): string[] {
    const p = this.keys.partitionOf(user);
    return [this.keys.presence(user), this.keys.leaving(p), this.keys.served(p, gateway), this.keys.gateways(p)];
  }

  #groupKeys(channel: string): string[] {
    const p = this.keys.partitionOf(channel);
    return [this.keys.channel(channel), this.keys.members(channel), this.keys.log(p)];
  }
}
