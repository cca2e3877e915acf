/** Offsets are stream ids, `<milliseconds>-<sequence>`; the library, unlike applications, may use their order. */
export function compareOffsets(a: string, b: string): number {
  if (a === b) return 0;
  const aDash = a.indexOf('-');
  const bDash = b.indexOf('-');
  const byMs = Number(a.slice(0, aDash)) - Number(b.slice(0, bDash));
  return byMs !== 0 ? byMs : Number(a.slice(aDash + 1)) - Number(b.slice(bDash + 1));
}
