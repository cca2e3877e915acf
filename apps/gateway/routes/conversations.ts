/**
 * `GET /conversations`. The marks (`conversations:{u}:<user>`) are moved in the same step as the inbox; what else a list
 * shows is the channels' own and read for the page's channels only, in one pipeline.
 *
 * The inbox's position is read before the marks, so the answer reflects at least what lies up to `offset`: a client that
 * resumes from there misses nothing, and may see again what the list already shows.
 */
import type { FastifyPluginAsync } from 'fastify';
import { checkQuery } from '../../../lib/protocol/check.ts';
import { MillraceError } from '../../../lib/protocol/errors.ts';
import { type Conversation, type Conversations, ConversationsQuery } from '../../../lib/protocol/http.ts';
import { parseChannel } from '../../../lib/protocol/ids.ts';
import { CONVERSATIONS_PAGE } from '../../../lib/protocol/limits.ts';
import { isBehind } from '../../../lib/rebuild/index.ts';
import { maxId, ZERO } from '../../../lib/redis/ids.ts';
import type { GatewayContext } from '../context.ts';
import { covers, parseMember } from '../membership.ts';
import { callerOf } from './authentication.ts';
import { watermarksOf } from './receipts.ts';

interface Mark {
  channel: string;
  lastSeq: number;
  ts: number;
  unread: number;
  readSeq: number;
  left: boolean;
}

export function conversations(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/conversations', async (request): Promise<Conversations> => {
      const { user } = callerOf(request);
      const { limit = CONVERSATIONS_PAGE.default, cursor } = checkQuery(ConversationsQuery, request.query);
      const from = cursor === undefined ? undefined : parseCursor(cursor);
      let list = await readMarks(ctx, user);
      if (list.lost) {
        await ctx.rebuild.user(user);
        list = await readMarks(ctx, user);
      }
      const { offset, marks } = list;
      marks.sort(latestFirst);
      const rest = from === undefined ? marks : marks.filter((mark) => latestFirst(from, mark) < 0);
      const page = rest.slice(0, limit);
      const last = page.at(-1);
      return {
        conversations: await Promise.all(page.map((mark) => show(ctx, user, mark))),
        unread_total: marks.reduce((sum, mark) => sum + mark.unread, 0),
        offset,
        ...(last && rest.length > limit ? { next: cursorAt(last) } : {}),
      };
    });
  };
}

/** All are of one partition, sent in this order and on one connection. `lost`: the list is not as it was, or may not be. */
async function readMarks(ctx: GatewayContext, user: string): Promise<{ offset: string; marks: Mark[]; lost: boolean }> {
  const { command } = ctx.store;
  const [tail, [trimmed, restored, reached], stored, born, floor] = await Promise.all([
    command.xinfo('STREAM', ctx.keys.inbox(user)).then(lastGeneratedId, (error: unknown) => {
      if (error instanceof Error && error.message.startsWith('ERR no such key')) return ZERO;
      throw error;
    }),
    command.hmget(ctx.keys.devices(user), 'trimmed', 'restored', 'floor'),
    command.hgetall(ctx.keys.conversations(user)),
    command.exists(ctx.keys.born(ctx.keys.partitionOf(user))),
    command.hget(ctx.keys.cursor(ctx.keys.partitionOf(user)), 'floor'),
  ]);
  const marks = Object.entries(stored).map(([channel, value]) => parseMark(channel, value));
  // Who has no device seen lately gets no inbox entries: `trimmed` is raised in their place, and is then the position.
  const lost = (born === 0 && !restored) || isBehind(reached, floor);
  return { offset: maxId(tail, trimmed ?? ZERO), marks, lost };
}

/** RESP3 answers a map, RESP2 a flat list. */
function lastGeneratedId(info: unknown): string {
  const fields: unknown[] = Array.isArray(info) ? info : Object.entries(info as object).flat();
  const at = fields.indexOf('last-generated-id');
  const id = fields[at + 1];
  if (at < 0 || typeof id !== 'string') throw new Error('XINFO STREAM told no last-generated-id');
  return id;
}

/** `<last seq> <its ts> <unread> <read seq>`, and ` left` after one's removal. */
function parseMark(channel: string, value: string): Mark {
  const [lastSeq, ts, unread, readSeq, left] = value.split(' ');
  const gone = left === 'left';
  return {
    channel,
    lastSeq: Number(lastSeq),
    ts: Number(ts),
    // What one left cannot be read any more, so it does not count either.
    unread: gone ? 0 : Number(unread),
    readSeq: Number(readSeq),
    left: gone,
  };
}

function latestFirst(a: Pick<Mark, 'ts' | 'channel'>, b: Pick<Mark, 'ts' | 'channel'>): number {
  return b.ts - a.ts || (a.channel < b.channel ? -1 : a.channel > b.channel ? 1 : 0);
}

async function show(ctx: GatewayContext, user: string, mark: Mark): Promise<Conversation> {
  const { channel } = mark;
  const parsed = parseChannel(channel);
  const group = parsed?.kind !== 'direct';
  const peer = group ? user : parsed.a === user ? parsed.b : parsed.a;
  const [[title, message, receipt, erased], stored] = await Promise.all([
    ctx.store.command.hmget(ctx.keys.channel(channel), 'title', 'message', `receipt:${peer}`, `erased:${peer}`),
    group ? ctx.store.command.hget(ctx.keys.members(channel), user) : null,
  ]);
  const latest = message ? parseMessage(message) : null;
  // A group's latest message may be from before one's joining or after one's leaving. Whose closed interval is gone
  // (the log no longer holds the removal) is shown nothing.
  const visible = latest !== null && (!group || (stored ? covers(parseMember(stored).intervals, latest.seq) : false));
  return {
    channel,
    // A removal is the last thing that a removed member gets of a group: no title that it was given later.
    ...(title && !mark.left ? { title } : {}),
    last_seq: mark.lastSeq,
    read_seq: mark.readSeq,
    unread: mark.unread,
    ...(mark.left ? { left: true } : {}),
    ...(peer === user ? {} : { peer: watermarksOf(receipt, erased) }),
    last_message: visible ? latest : null,
  };
}

/** `<seq> <from> <ts> <snippet>`; the snippet may hold anything, or be missing. */
function parseMessage(value: string): NonNullable<Conversation['last_message']> {
  const [, seq, from = '', ts, snippet = ''] = /^(\d+) (\S+) (\d+) ?(.*)$/s.exec(value) ?? [];
  return { seq: Number(seq), from, ts: Number(ts), snippet };
}

function cursorAt({ ts, channel }: Mark): string {
  return Buffer.from(`${ts} ${channel}`).toString('base64url');
}

function parseCursor(cursor: string): Pick<Mark, 'ts' | 'channel'> {
  const [, ts, channel] = /^(\d{1,15}) (\S+)$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  if (ts === undefined || channel === undefined) throw new MillraceError('bad_request', 'cursor: not a cursor');
  return { ts: Number(ts), channel };
}
