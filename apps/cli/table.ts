/** How the operator's commands show what they found: as tables, or the same as JSON. */
import Table from 'cli-table3';

export interface Section {
  title: string;
  /** The line that shows the same without us. */
  redisCli: string;
  /** All rows have the first one's columns. */
  rows: Record<string, string | number | boolean | null>[];
  /** A table shows no more of them; JSON has them all. */
  atMost?: number;
}

/** Of lists that grow with the people in them. */
export const AT_MOST = 50;

export function show(sections: readonly Section[], json: boolean): void {
  if (json) {
    console.log(
      JSON.stringify(
        sections.map(({ title, redisCli, rows }) => ({ title, redis_cli: redisCli, rows })),
        null,
        2,
      ),
    );
    return;
  }
  // Colours are for terminals: a pipe gets plain text.
  const style = process.stdout.isTTY
    ? { head: ['bold'], border: ['gray'], compact: true }
    : { head: [], border: [], compact: true };
  for (const { title, redisCli, rows: all, atMost = all.length } of sections) {
    const rows = all.slice(0, atMost);
    console.log(`\n${title}`);
    const [first] = rows;
    if (first) {
      const table = new Table({ head: Object.keys(first), style });
      for (const row of rows) table.push(Object.values(row).map((value) => (value === null ? '–' : String(value))));
      console.log(table.toString());
      if (rows.length < all.length) console.log(`  … and ${all.length - rows.length} more: --json has them all`);
    } else {
      console.log('  nothing');
    }
    console.log(`  $ ${redisCli}`);
  }
}

/** `3 s ago`, for times in milliseconds. */
export function ago(ms: number, nowMs = Date.now()): string {
  const s = Math.max(0, Math.round((nowMs - ms) / 1000));
  if (s < 120) return `${s} s ago`;
  if (s < 7200) return `${Math.round(s / 60)} min ago`;
  if (s < 172_800) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86_400)} days ago`;
}
