/**
 * Faults planted into the product, each by a small change of its text, to see that the verdict finds it: a verdict that is
 * always clean says nothing. A new one: add it here; mutants.test.ts and `npm run chaos -- --mutant` take it up.
 */
import type { Promised } from '../ledger/findings.ts';

export interface Edit {
  file: string;
  /** Is there exactly once. */
  was: string;
  becomes: string;
}

export interface Mutant {
  name: string;
  does: string;
  edits: readonly Edit[];
  /** What the verdict has to find, whatever else it finds. */
  breaks: Promised;
  /** The fault of `FAULTS` that it takes to come to light. */
  fault?: string;
  /** Found in every `npm test`; the others with CHAOS=full. */
  always?: true;
}

/** So that some seconds away are enough for an overflow. A read of a live inbox is shorter than a full inbox, as ever. */
export const SMALL_INBOX: readonly Edit[] = [
  { file: 'lib/redis/verbs.ts', was: 'const INBOX_ENTRIES = 500;', becomes: 'const INBOX_ENTRIES = 24;' },
  { file: 'apps/gateway/lane.ts', was: 'const LONGEST_STRETCH = 128;', becomes: 'const LONGEST_STRETCH = 16;' },
];

const INBOX_WRITE = 'id, failed = push(KEYS[key], devices, cap, ttl_ms, unpack(ARGV, at, at + n - 1))';
const SWAPPED: Edit = {
  file: 'apps/fanout/pair.ts',
  was: 'const deliveries = this.#queue.slice(0, count);',
  becomes: 'const deliveries = this.#queue.slice(0, count).reverse();',
};

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'inbox-write-dropped',
    does: 'fan-out drops one inbox write in 20',
    breaks: 'unsent',
    always: true,
    edits: [
      {
        file: 'lua/deliver.lua',
        was: INBOX_WRITE,
        becomes: `if tonumber(ARGV[at + 5]) % 20 == 7 then return mark(conversations, user, known, at) end
      ${INBOX_WRITE}`,
      },
    ],
  },
  {
    name: 'delivery-ends',
    does: 'fan-out delivers nothing of a channel after its 20th event',
    breaks: 'lost',
    edits: [
      {
        file: 'lua/deliver.lua',
        was: INBOX_WRITE,
        becomes: `if tonumber(ARGV[at + 5]) > 20 then return mark(conversations, user, known, at) end
      ${INBOX_WRITE}`,
      },
    ],
  },
  {
    name: 'inbox-write-repeated',
    does: 'fan-out writes one entry in 20 twice',
    breaks: 'sentTwice',
    edits: [
      {
        file: 'lua/deliver.lua',
        was: INBOX_WRITE,
        becomes: `if tonumber(ARGV[at + 5]) % 20 == 7 then push(KEYS[key], devices, cap, ttl_ms, unpack(ARGV, at, at + n - 1)) end
      ${INBOX_WRITE}`,
      },
    ],
  },
  {
    name: 'no-cursor-check',
    does: 'delivery does not compare where its caller continues from with its own cursor',
    breaks: 'sentTwice',
    fault: 'net-lost-answers',
    edits: [{ file: 'lua/deliver.lua', was: 'local equal = cursor == after', becomes: 'local equal = true' }],
  },
  {
    name: 'pair-swapped',
    does: 'fan-out delivers what it sends together from the end',
    breaks: 'sentOutOfOrder',
    edits: [SWAPPED],
  },
  {
    name: 'shown-as-it-comes',
    does: 'the same, and the client library shows what comes as it comes',
    breaks: 'outOfOrder',
    edits: [SWAPPED, { file: 'lib/client/channel.ts', was: 'if (seq === expected) {', becomes: 'if (true) {' }],
  },
  {
    name: 'repetition-shown',
    does: 'the client library does not know by its id what it has shown',
    breaks: 'shownTwice',
    fault: 'net-lost-answers',
    edits: [
      {
        file: 'lib/client/channel.ts',
        was: 'if (seq <= this.shown - RECENT || id === undefined || id === event.id) return;',
        becomes: 'if (seq <= this.shown - RECENT || id === undefined) return;',
      },
    ],
  },
  {
    name: 'two-devices-alone',
    does: 'what one device of a user sends does not come to the others',
    breaks: 'unsent',
    edits: [
      {
        file: 'lua/deliver.lua',
        was: 'alone = not has_other_device(all, via) end',
        becomes: 'alone = true end',
      },
    ],
  },
  {
    name: 'members-as-they-were',
    does: 'fan-out never reads the members of a group again',
    breaks: 'unsent',
    edits: [
      {
        file: 'apps/fanout/recipients.ts',
        was: 'if (cached && cached.version >= event.membersVersion)',
        becomes: 'if (cached)',
      },
    ],
  },
  {
    name: 'number-given-twice',
    does: 'now and then a message gets the number of the one before',
    breaks: 'holes',
    edits: [
      {
        file: 'lua/append.lua',
        was: '{ seq = head[1], last = head[2] }',
        becomes: '{ seq = head[1] and now % 20 == 0 and head[1] - 1 or head[1], last = head[2] }',
      },
    ],
  },
  {
    name: 'number-left-out',
    does: 'now and then a number of a channel is nobody’s',
    breaks: 'holes',
    edits: [
      {
        file: 'lua/append.lua',
        was: '{ seq = head[1], last = head[2] }',
        becomes: '{ seq = head[1] and now % 20 == 0 and head[1] + 1 or head[1], last = head[2] }',
      },
    ],
  },
  {
    name: 'accepted-not-stored',
    does: 'now and then a message is accepted without being written',
    breaks: 'notArchived',
    edits: [
      {
        file: 'lua/append.lua',
        was: "  local extra = { 'content', ARGV[a + 5] }",
        becomes: `  if head[1] and now % 20 == 0 then return { 'ok', head[1] + 1, id, now, 0, tonumber(head[5]) } end
  local extra = { 'content', ARGV[a + 5] }`,
      },
    ],
  },
  {
    name: 'client-id-forgotten',
    does: 'a repeated client id makes another message',
    breaks: 'archivedTwice',
    fault: 'net-lost-answers',
    edits: [
      {
        file: 'lua/append.lua',
        was: 'if known then\n    local seq, first_id, ts',
        becomes: 'if false then\n    local seq, first_id, ts',
      },
    ],
  },
  {
    name: 'archive-row-lost',
    does: 'the archiver passes over one row in 20',
    breaks: 'notArchived',
    always: true,
    edits: [
      {
        file: 'apps/archiver/main.ts',
        was: 'const chunk = rows.slice(i, i + perWrite);',
        becomes: 'const chunk = rows.slice(i, i + perWrite).filter(({ seq }) => seq % 20 !== 7);',
      },
    ],
  },
  {
    name: 'deleted-comes-back',
    does: 'an archiver writes what it wrote before once more, and the archive does not look for later changes of it',
    breaks: 'archivedWrong',
    always: true,
    edits: [
      {
        file: 'apps/archiver/main.ts',
        was: 'const PAUSE_MS = 250;',
        becomes: 'const PAUSE_MS = 250;\nconst before: ArchiveRow[] = [];',
      },
      {
        file: 'apps/archiver/main.ts',
        was: 'const perWrite = ROWS_PER_WRITE[archive.kind];',
        becomes: `rows.unshift(...before.splice(0));
    before.push(...rows.filter(({ type }) => type === 'message'));
    const perWrite = ROWS_PER_WRITE[archive.kind];`,
      },
      {
        file: 'lib/archive/embedded/changes.ts',
        was: "if (type !== 'message') continue;",
        becomes: 'continue;',
      },
    ],
  },
  {
    name: 'deletion-not-final',
    does: 'in the archive a deletion counts only when it is the first change of its message',
    breaks: 'archivedWrong',
    edits: [
      {
        file: 'lib/archive/embedded/changes.ts',
        was: "changes.some(({ type }) => type === 'deleted')",
        becomes: "changes[0]?.type === 'deleted'",
      },
    ],
  },
  {
    name: 'gap-silent',
    does: 'an inbox overflows, and does not note what it removed',
    breaks: 'unsent',
    edits: [
      ...SMALL_INBOX,
      { file: 'lua/include/inbox.lua', was: 'raise_trimmed(devices, removed[#removed][1])', becomes: '' },
    ],
  },
  {
    name: 'resume-at-the-end',
    does: 'whoever comes back resumes at the end of the inbox, and not where they were',
    breaks: 'unsent',
    edits: [
      {
        file: 'lua/attach.lua',
        was: "local position = since ~= '' and since or acked or tail",
        becomes: 'local position = tail',
      },
    ],
  },
  {
    name: 'resume-sends-twice',
    does: 'a gateway sends the first event of a replay twice',
    breaks: 'sentTwice',
    edits: [
      {
        file: 'apps/gateway/session.ts',
        was: 'frames.push(frame);',
        becomes: `frames.push(frame);
      if (this.state === 'replaying' && frames.length === 1) frames.push(frame);`,
      },
    ],
  },
  {
    name: 'receipts-ahead',
    does: 'an ack counts for the whole channel, whatever it covers',
    breaks: 'receipts',
    always: true,
    edits: [
      {
        file: 'lua/raise.lua',
        was: 'if delivered > last then delivered = last end',
        becomes: 'delivered = last',
      },
    ],
  },
  {
    name: 'receipts-behind',
    does: 'reading is not noted',
    breaks: 'receipts',
    edits: [{ file: 'lua/raise.lua', was: 'if read > last then read = last end', becomes: 'read = saw' }],
  },
  {
    name: 'own-unread',
    does: 'one’s own messages count as unread',
    breaks: 'unread',
    edits: [
      {
        file: 'lua/deliver.lua',
        was: 'if ARGV[at + 9] == user then unread, read = 0, seq else unread = unread + 1 end',
        becomes: 'unread = unread + 1',
      },
    ],
  },
  {
    name: 'removed-still-told',
    does: 'who was removed from a group goes on being told',
    breaks: 'strange',
    edits: [
      {
        file: 'apps/fanout/recipients.ts',
        was: 'present: this.#group(present.map((u) => u.user)),',
        becomes: 'present: this.#group(users.map((u) => u.user)),',
      },
    ],
  },
  {
    name: 'refused-for-nothing',
    does: 'now and then a member is told that there is no such group',
    breaks: 'refused',
    edits: [
      {
        file: 'lua/append.lua',
        was: 'if not member or not member.present then',
        becomes: 'if not member or not member.present or now % 20 == 0 then',
      },
    ],
  },
  {
    name: 'answer-left-out',
    does: 'from a channel’s 20th event on, who sends is never answered',
    breaks: 'unanswered',
    edits: [
      {
        file: 'apps/gateway/frames.ts',
        was: 'session.sendText(encodeAccepted({ ...accepted, ref: frame.ref }));',
        becomes: 'if (accepted.seq < 20) session.sendText(encodeAccepted({ ...accepted, ref: frame.ref }));',
      },
    ],
  },
  {
    name: 'joining-without-event',
    does: 'a member is added, and the channel does not say so',
    breaks: 'members',
    edits: [
      {
        file: 'lua/put_member.lua',
        was: "local seq = event(ARGV[4], user, 'added', role)",
        becomes: 'local seq = head[1]',
      },
    ],
  },
];
