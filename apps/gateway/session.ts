/**
 * One device's session on one socket, from its hello to its close: what it has been sent, and how it is sent more.
 *
 * `offset` is the last offset written to the socket. Invariant: everything in the inbox up to `offset` (and beyond where
 * the session started) has been written once, in order; what lies beyond is written by the session's own replay, or, while
 * it is in `feed.live`, by the feed's reads.
 */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { CLOSE_CODES, type CloseReason, errorFrame, type MillraceError } from '../../lib/protocol/errors.ts';
import type { ServerFrame } from '../../lib/protocol/frames.ts';
import type { StreamEntry } from '../../lib/redis/blocking.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { KEEP_BEFORE_TRIM } from '../../lib/redis/verbs.ts';
import type { Caller } from './context.ts';
import type { Feed } from './feed.ts';
import type { Renderer } from './render.ts';
import type { Typed } from './typing.ts';
import { isOfOthers, Unacked } from './unacked.ts';
import { textFrames } from './wire.ts';

/** Over this many bytes in the socket's buffer a session stops reading its inbox, until the buffer is empty again. */
export const PAUSE_ABOVE_BYTES = 128 * 1024;
/** Over this many, it is not even listened to: its own answers fill the buffer. */
const DEAF_ABOVE_BYTES = 1024 * 1024;

/** So many `rate_limited` within this time end a session. */
const TOO_FAST_TIMES = 100;
const TOO_FAST_WITHIN_MS = 10_000;
/** A message that is written and not acked within this time is queued for a wake-up (design §7). */
const ACK_WITHIN_MS = 10_000;

export type SessionState = 'new' | 'attaching' | 'replaying' | 'live' | 'paused' | 'closed';

export class Session {
  readonly id: string;
  readonly socket: WebSocket;
  readonly raw: Socket;
  state: SessionState = 'new';
  caller: Caller | undefined;
  /** The token's own user: a refresh must be of the same. */
  subject = '';
  device = '';
  feed: Feed | undefined;
  offset = ZERO;
  acked = ZERO;
  /** What was there when the device came back: acks up to here may repeat what died with another gateway. */
  resumedTo = ZERO;
  /** Messages by others that were written and not acked. */
  unacked: Unacked | undefined;
  /** Entries that were found since an ack last trimmed the inbox: what was there before may be many. */
  untrimmed = KEEP_BEFORE_TRIM + 1;
  /** Monotonic ms. */
  readonly openedAt: number;
  /** Unix ms; of the token. */
  expiresAt = Number.POSITIVE_INFINITY;
  /** Monotonic ms; of the latest frame from the client, or of the upgrade. */
  heardAt: number;
  liveTold = false;
  /** The store has it, as far as we know. */
  registered = false;
  /** Of the last gap that was told, `trimmed` or the floor as it was then: what is removed later is another gap. */
  gapToldTo = ZERO;
  /** Monotonic ms: if not every message is acked by then, the device may have lost its network. Undefined: all are. */
  overdueAt: number | undefined;
  badFrames: number[] | undefined;
  /** When its bucket of frames is full again. */
  framesFullAt = 0;
  /** When the latest `rate_limited` were told, at most as many as end the session. */
  tooFast: number[] | undefined;
  /** Per channel the append in flight: one at a time keeps a sender's order (design, rule 8). */
  sending: Map<string, Promise<unknown>> | undefined;
  /** Whose presence it watches, and whether it may see it, as the look numbered `asOf` found. */
  watching: Map<string, { visible: boolean; asOf: number }> | undefined;
  /** Whose presence changed while the socket was full. */
  untold: Set<string> | undefined;
  typed: Typed | undefined;

  constructor(id: string, socket: WebSocket, raw: Socket) {
    this.id = id;
    this.socket = socket;
    this.raw = raw;
    this.heardAt = performance.now();
    this.openedAt = this.heardAt;
  }

  get open(): boolean {
    return this.state !== 'closed' && this.socket.readyState === 1;
  }

  get congested(): boolean {
    return this.raw.writableLength > PAUSE_ABOVE_BYTES;
  }

  sendText(text: string): void {
    this.sendBytes(textFrames([text]));
  }

  /** Text frames, made by `textFrames`: the same bytes may go to many sessions. */
  sendBytes(frames: Buffer): void {
    if (this.socket.readyState !== 1) return;
    this.raw.write(frames);
    if (this.raw.writableLength > DEAF_ABOVE_BYTES && !this.socket.isPaused) {
      this.socket.pause();
      this.raw.once('drain', () => this.socket.resume());
    }
  }

  send(frame: ServerFrame): void {
    this.sendText(JSON.stringify(frame));
  }

  /** Who does not slow down, however often told, is closed. */
  refuse(error: MillraceError, answers: { ref?: string; client_id?: string }): void {
    this.sendText(JSON.stringify(errorFrame(error, answers)));
    if (error.code === 'rate_limited' && this.countTooFast(performance.now())) this.close('rateLimited');
  }

  /** True at the hundredth within ten seconds. */
  countTooFast(now: number): boolean {
    this.tooFast ??= [];
    this.tooFast.push(now);
    if (this.tooFast.length < TOO_FAST_TIMES) return false;
    return now - (this.tooFast.shift() ?? 0) <= TOO_FAST_WITHIN_MS;
  }

  /** Writes what the session has not had yet; returns how many frames. Stops when the socket's buffer is full. */
  write(entries: readonly StreamEntry[], renderer: Renderer): number {
    const frames: string[] = [];
    let owed = false;
    let room = PAUSE_ABOVE_BYTES - this.raw.writableLength;
    for (const entry of entries) {
      if (compareIds(entry.id, this.offset) <= 0) continue;
      if (room < 0) break;
      this.offset = entry.id;
      this.untrimmed++;
      if (isOfOthers(entry.fields, this.caller?.user ?? '')) {
        this.unacked ??= new Unacked();
        this.unacked.add(entry);
        owed = true;
      }
      if (isOwnReceipt(entry.fields, this.device)) continue;
      const frame = renderer.frame(entry);
      if (frame === undefined) continue;
      room -= frame.length;
      frames.push(frame);
    }
    if (frames.length > 0 && this.socket.readyState === 1) {
      this.raw.write(textFrames(frames));
      if (owed) this.overdueAt ??= performance.now() + ACK_WITHIN_MS;
    }
    return frames.length;
  }

  /** True when the client says something new. */
  ack(offset: string): boolean {
    if (compareIds(offset, this.acked) <= 0) return false;
    this.acked = offset;
    const all = compareIds(offset, this.offset) >= 0;
    this.overdueAt = all ? undefined : performance.now() + ACK_WITHIN_MS;
    return true;
  }

  /** Whether an ack may find enough in the inbox to trim it. */
  mayTrim(): boolean {
    if (this.untrimmed <= KEEP_BEFORE_TRIM) return false;
    this.untrimmed = 0;
    return true;
  }

  close(reason: CloseReason, text?: string): void {
    const { code, meaning } = CLOSE_CODES[reason];
    this.socket.close(code, text ?? meaning);
  }

  /** Counts a malformed frame; true when it was the tenth within a minute. */
  countBadFrame(now: number): boolean {
    this.badFrames = (this.badFrames ?? []).filter((at) => now - at < 60_000);
    this.badFrames.push(now);
    return this.badFrames.length >= 10;
  }
}

/** A receipt that this very device caused: the inbox is the same for all of a user's devices. */
function isOwnReceipt(fields: readonly string[], device: string): boolean {
  return fields[1] === 'receipt' && fields[12] === 'via' && fields[13] === device;
}
