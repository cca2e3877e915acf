/** Watermarks and unread counts, as the system tells them in the end, against what the ledger says that people did. */
import type { MillraceApi } from '../../../lib/client/index.ts';
import type { Account } from './account.ts';
import type { Promised } from './findings.ts';
import type { ChannelHistory } from './history.ts';

export interface WrongMark {
  promise: Promised;
  what: string;
}

/** After the last words: everybody has written into every channel, and was shown what the others wrote. */
export async function wrongMarks(
  account: Account,
  histories: ReadonlyMap<string, ChannelHistory>,
  api: (user: string) => MillraceApi,
): Promise<WrongMark[]> {
  const users = new Set([...account.channels.values()].flat());
  const found = await Promise.all([
    ...[...account.channels].map(([channel, members]) => receipts(account, channel, members, api(members[0]!))),
    ...[...users].map((user) => conversations(account, histories, user, api(user))),
  ]);
  return found.flat();
}

async function receipts(
  account: Account,
  channel: string,
  members: readonly string[],
  api: MillraceApi,
): Promise<WrongMark[]> {
  const told = await api.loadReceipts(channel);
  return told.flatMap(({ user, delivered, read }) => {
    const should = account.watermarks.of(channel, user);
    const ahead = delivered > should.delivered || read > should.read;
    // Guests come and go, and their watermarks with them: theirs must not lie, and may be behind.
    const behind = members.includes(user) && (delivered < should.delivered || read < should.read);
    if (!ahead && !behind) return [];
    const what = `${channel}: ${user} ${delivered}, ${read} read, not ${should.delivered}, ${should.read} read`;
    return [{ promise: 'receipts', what }];
  });
}

async function conversations(
  account: Account,
  histories: ReadonlyMap<string, ChannelHistory>,
  user: string,
  api: MillraceApi,
): Promise<WrongMark[]> {
  const wrong: WrongMark[] = [];
  const { conversations: list, unread_total } = await api.conversations({ limit: 100 });
  const sum = list.reduce((total, { unread }) => total + unread, 0);
  if (sum !== unread_total)
    wrong.push({ promise: 'unread', what: `${user}: ${sum} unread, and ${unread_total} in all` });
  for (const { channel, last_seq, read_seq, unread } of list) {
    const rows = histories.get(channel)?.rows;
    if (!rows || !account.channels.get(channel)?.includes(user)) continue;
    const { read } = account.watermarks.of(channel, user);
    const last = rows.at(-1)?.seq ?? 0;
    const after = rows.filter((row) => row.seq > read);
    const least = after.filter((row) => row.type === 'message' && row.from !== user && row.deleted !== true).length;
    // After a read in the middle, events among them may count until they read on.
    const most = least + after.filter((row) => row.type !== 'message' || row.deleted === true).length;
    if (last_seq === last && read_seq === read && unread >= least && unread <= most) continue;
    const what = `${user}: ${channel} last ${last_seq}, read ${read_seq}, ${unread} unread; not ${last}, ${read}, ${least} to ${most}`;
    wrong.push({ promise: 'unread', what });
  }
  return wrong;
}
