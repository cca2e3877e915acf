import type { ArchiveRow } from '../archive.ts';
import type { Statements, StoredChange } from './statements.ts';

/**
 * Brings messages up to date with their changes, in the transaction that wrote the rows. A message's state is made anew
 * from all the stored changes of it, in the log's order, so the order in which rows are written does not matter.
 *
 * To be settled are the targets of the changes just written, and the messages just written that have changes: a replay
 * has put their first text back.
 */
export function applyChanges(s: Statements, rows: readonly ArchiveRow[]): void {
  for (const [channel, written] of Map.groupBy(rows, (row) => row.channel)) {
    const targets = new Set<number>();
    let [first, last] = [Number.POSITIVE_INFINITY, 0];
    for (const { type, seq, target } of written) {
      if (target !== undefined) targets.add(target.seq);
      if (type !== 'message') continue;
      if (seq < first) first = seq;
      if (seq > last) last = seq;
    }
    if (first <= last) {
      const changed = s.changedBetween.all(channel, first, last) as unknown as { target_seq: number }[];
      for (const { target_seq } of changed) targets.add(target_seq);
    }
    for (const target of targets) settle(s, channel, target);
  }
}

function settle(s: Statements, channel: string, target: number): void {
  const all = s.changesOf.all(channel, target) as unknown as StoredChange[];
  for (const [id, changes] of Map.groupBy(all, (change) => change.target_id)) {
    if (changes.some(({ type }) => type === 'deleted')) {
      s.setDeleted.run(channel, target, id);
      for (const { rowid, content } of changes) if (content !== null) s.emptyChange.run(rowid);
      continue;
    }
    const latest = changes.at(-1);
    if (latest) s.setEdited.run(latest.content, latest.seq, latest.created_at, channel, target, id);
  }
}
