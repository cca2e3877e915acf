/** Planted into watermarks, ticks and unread counts. */
import type { Mutant } from './mutant.ts';

export const marking: readonly Mutant[] = [
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
    name: 'received-taken-for-read',
    does: 'the client library shows what the other one has received as read',
    breaks: 'ticks',
    edits: [
      {
        file: 'lib/client/receipts.ts',
        was: "least('read') >= seq ? 'read'",
        becomes: "least('delivered') >= seq ? 'read'",
      },
    ],
  },
  {
    name: 'own-unread',
    does: 'one’s own messages count as unread',
    breaks: 'unread',
    edits: [
      {
        file: 'lua/deliver.lua',
        was: 'if own then unread, read = 0, text else unread = unread + 1 end',
        becomes: 'unread = unread + 1',
      },
    ],
  },
];
