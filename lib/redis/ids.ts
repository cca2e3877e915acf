/** Stream ids, `<milliseconds>-<sequence>`, compared as two numbers: as text `9-0` would come after `10-0`. */

export const ZERO = '0-0';

export function compareIds(a: string, b: string): number {
  if (a === b) return 0;
  const [am, as] = split(a);
  const [bm, bs] = split(b);
  return am - bm || as - bs;
}

export const maxId = (a: string, b: string): string => (compareIds(a, b) >= 0 ? a : b);
export const minId = (a: string, b: string): string => (compareIds(a, b) <= 0 ? a : b);

/** Milliseconds of the store's clock at which the entry was added. */
export function msOf(id: string): number {
  const dash = id.indexOf('-');
  return Number(dash < 0 ? id : id.slice(0, dash));
}

function split(id: string): [number, number] {
  const dash = id.indexOf('-');
  return dash < 0 ? [Number(id), 0] : [Number(id.slice(0, dash)), Number(id.slice(dash + 1))];
}
