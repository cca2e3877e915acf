/** Planted into fan-out and the inboxes, and into what the client library makes of what comes. */
import type { Edit, Mutant } from './mutant.ts';

const INBOX_WRITE = 'id, failed = push(KEYS[key], devices, cap, ttl_ms, entry(at, n))';
const SWAPPED: Edit = {
  file: 'apps/fanout/pair.ts',
  was: 'const deliveries = this.#queue.slice(0, count);',
  becomes: 'const deliveries = this.#queue.slice(0, count).reverse();',
};

export const delivering: readonly Mutant[] = [
  {
    name: 'inbox-write-dropped',
    does: 'fan-out drops one inbox write in 20',
    breaks: 'unsent',
    always: true,
    edits: [
      {
        file: 'lua/deliver.lua',
        was: INBOX_WRITE,
        becomes: `if tonumber(ARGV[at + 2]) % 20 == 7 then return mark(conversations, user, known, at) end
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
        becomes: `if tonumber(ARGV[at + 2]) > 20 then return mark(conversations, user, known, at) end
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
        becomes: `if tonumber(ARGV[at + 2]) % 20 == 7 then push(KEYS[key], devices, cap, ttl_ms, entry(at, n)) end
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
        was: 'seen, alone = err, not other',
        becomes: 'seen, alone = err, true',
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
];
