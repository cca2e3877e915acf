/** Who writes where: direct channels with neighbours, small groups, and one larger than receipts go to. */

export interface Place {
  channel: string;
  kind: 'direct' | 'small' | 'large';
  /** From the beginning to the end. The first one made it. */
  members: readonly string[];
  /** Comes and goes, and does not write. */
  guest?: { user: string; inside: boolean; busy: boolean };
  /** The highest seq that anybody knows of. */
  last: number;
  /** user → their own last message. */
  own: Map<string, number>;
}

const SMALL = 5;
/** Beyond `receipts_up_to` (32). */
const LARGE = 40;

export type Draft = Omit<Place, 'channel' | 'last' | 'own'>;

export function draftPlaces(users: readonly string[]): Draft[] {
  const drafts: Draft[] = [];
  const at = (i: number) => users[i % users.length]!;
  for (let i = 0; i < users.length; i++) {
    for (const far of [1, 2]) drafts.push({ kind: 'direct', members: [at(i), at(i + far)].sort() });
  }
  for (let i = 0; i + SMALL < users.length; i += SMALL) {
    const guest = { user: at(i + SMALL + 1), inside: false, busy: false };
    drafts.push({ kind: 'small', members: users.slice(i, i + SMALL), guest });
  }
  drafts.push({ kind: 'large', members: users.slice(0, LARGE) });
  return drafts;
}
