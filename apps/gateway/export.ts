/**
 * Everything that is kept of a user, line by line: their devices, blocks and channels, then whatever they wrote, edits
 * included. What the archive does not have yet comes from the logs: each partition's archiver position is noted, its log is
 * read from there on, and the archive up to it, so nothing is missing and nothing comes twice. The logs come first, since
 * the archive keeps what it has and they do not: whoever reads slowly may take hours over it. One page is in memory.
 */
import { rowOf } from '../../lib/archive/from-log.ts';
import type { ArchiveRow } from '../../lib/archive/index.ts';
import { BUCKET_SIZE } from '../../lib/archive/rows.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import type { GatewayContext } from './context.ts';

const PAGE = 200;
/** Entries of a log read at a time: a millisecond of Redis. */
const LOG_PAGE = 200;

export async function* exportOf(ctx: GatewayContext, user: string): AsyncGenerator<string, void, void> {
  const { store, keys, archive } = ctx;
  const { command } = store;
  await ctx.rebuild.account(user);
  const [devices, blocks, conversations] = await Promise.all([
    command.hgetall(keys.devices(user)),
    command.smembers(keys.blocks(user)),
    command.hgetall(keys.conversations(user)),
  ]);
  const archived = await archive.channelsOf(user);

  yield line({ type: 'user', user, exported_at: Date.now() });
  yield* deviceLines(devices);
  for (const other of blocks.sort()) yield line({ type: 'block', user: other });
  for (const channel of [...new Set([...Object.keys(conversations), ...archived])].sort()) {
    const [title, member] = channel.startsWith('g:')
      ? await Promise.all([command.hget(keys.channel(channel), 'title'), command.hget(keys.members(channel), user)])
      : [null, null];
    const [role, intervals] = member?.split(' ') ?? [];
    yield line({ type: 'channel', channel, ...(title ? { title } : {}), ...(role ? { role, intervals } : {}) });
  }

  const positions: string[] = [];
  for (let p = 0; p < keys.partitions; p++) {
    const position = (await command.hget(keys.positions(p), 'archiver')) ?? ZERO;
    positions.push(position);
    yield* logged(ctx, user, p, position);
  }
  for (const { channel, bucket } of await archive.sentIn(user)) {
    const upTo = positions[keys.partitionOf(channel)] ?? ZERO;
    let after = Math.max(0, bucket * BUCKET_SIZE - 1);
    for (;;) {
      const page = { after, before: (bucket + 1) * BUCKET_SIZE, limit: PAGE, order: 'oldest' } as const;
      const rows = await archive.page(channel, page);
      const mine = rows.filter((row) => wrote(row, user) && compareIds(row.logId, upTo) <= 0);
      if (mine.length > 0) yield mine.map(rowLine).join('');
      after = rows.at(-1)?.seq ?? after;
      if (rows.length < PAGE) break;
    }
  }
}

/** What the log has after this position. */
async function* logged({ store, keys }: GatewayContext, user: string, p: number, position: string) {
  for (let after = position; ; ) {
    const entries = await store.command.xrange(keys.log(p), `(${after}`, '+', 'COUNT', LOG_PAGE);
    const trimmed = await store.command.hget(keys.positions(p), 'trimmed');
    if (trimmed && compareIds(trimmed, after) > 0) throw new MillraceError('unavailable', 'read too slowly: ask again');
    const mine = entries.flatMap(([id, fields]) => {
      // In this place since the first version: see lua/include/event.lua.
      if (fields[9] !== user) return [];
      const row = rowOf({ id, fields });
      return wrote(row, user) ? [rowLine(row)] : [];
    });
    if (mine.length > 0) yield mine.join('');
    after = entries.at(-1)?.[0] ?? after;
    if (entries.length < LOG_PAGE) return;
  }
}

function wrote({ type, from, deleted }: ArchiveRow, user: string): boolean {
  return from === user && (type === 'message' || type === 'edited') && !deleted;
}

function rowLine({ type, channel, seq, id, ts, clientId, content, metadata, target, edited }: ArchiveRow): string {
  return line({
    type,
    channel,
    seq,
    id,
    ts,
    client_id: clientId,
    content,
    ...(metadata === undefined ? {} : { metadata: JSON.parse(metadata) as unknown }),
    ...(target === undefined ? {} : { target: target.seq }),
    ...(edited === undefined ? {} : { edited_at: edited.at }),
  });
}

/** Without their tokens. */
function* deviceLines(stored: Readonly<Record<string, string>>): Generator<string> {
  const names = Object.keys(stored).flatMap((field) => /^(?:device|push):(.+)$/.exec(field)?.[1] ?? []);
  for (const device of new Set(names)) {
    const platform = stored[`push:${device}`]?.split(' ')[0];
    const seen = stored[`device:${device}`]?.split(' ')[1];
    yield line({
      type: 'device',
      device,
      ...(seen ? { last_seen: Number(seen) } : {}),
      ...(platform ? { platform } : {}),
    });
  }
}

function line(value: Record<string, unknown>): string {
  return `${JSON.stringify(value)}\n`;
}
