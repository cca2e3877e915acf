/** For tests: a page of a channel's history, of the entries `there`, each in its latest state by the whole `log`. */
import type { DeletedFrame, EditedFrame, MessageFrame } from '../protocol/frames.ts';

export type Entry = MessageFrame | EditedFrame | DeletedFrame;

export function pageOf(there: readonly Entry[], log: readonly Entry[], query: URLSearchParams): { seq: number }[] {
  const limit = Number(query.get('limit') ?? 50);
  const after = query.get('after');
  const before = Number(query.get('before') ?? Number.POSITIVE_INFINITY);
  const chosen =
    after === null ? there.filter(({ seq }) => seq < before).reverse() : there.filter(({ seq }) => seq > Number(after));
  return chosen.slice(0, limit).map((entry) => latestState(entry, log));
}

function latestState({ offset: __, ...entry }: Entry, log: readonly Entry[]) {
  const target = entry.type === 'message' ? entry.seq : entry.target;
  const changes = log.filter(
    (one): one is EditedFrame | DeletedFrame => one.type !== 'message' && one.target === target,
  );
  const deleted = changes.some(({ type }) => type === 'deleted');
  const { content: _, ...bare } = entry as MessageFrame;
  if (deleted) return entry.type === 'message' ? { ...bare, deleted: true } : bare;
  const edit = changes.at(-1);
  if (entry.type !== 'message' || edit?.type !== 'edited') return entry;
  return { ...entry, content: edit.content, edited_at: edit.ts };
}
