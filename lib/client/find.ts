/** Whether an own send, edit or deletion of long ago arrived: its channel's history, from the newest back to when it was made. */
import type { History, HistoryQuery } from '../protocol/http.ts';
import { isWritten } from './events.ts';
import type { Accepted } from './outbox.ts';
import type { OutboxItem } from './storage.ts';

/** The clocks of device and store may differ by this much. */
const CLOCKS_MS = 10 * 60_000;

export async function findSent(
  history: (query: HistoryQuery) => Promise<History>,
  user: string,
  channel: string,
  item: OutboxItem,
): Promise<Accepted | undefined> {
  let before: number | undefined;
  for (;;) {
    const page = await history({ limit: 200, ...(before === undefined ? {} : { before }) });
    for (const entry of page.messages) {
      if (!isWritten(entry) || entry.from !== user || entry.client_id !== item.frame.client_id) continue;
      return { client_id: entry.client_id, channel, seq: entry.seq, id: entry.id, ts: entry.ts, duplicate: true };
    }
    const oldest = page.messages.at(-1);
    if (oldest === undefined || oldest.seq <= 1 || oldest.ts < item.at - CLOCKS_MS) return undefined;
    before = oldest.seq;
  }
}
