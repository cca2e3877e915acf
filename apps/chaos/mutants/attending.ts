/** Planted into how devices come, come back, and leave. */
import type { Edit, Mutant } from './mutant.ts';

/** So that some seconds away are enough for an overflow. A read of a live inbox is shorter than a full inbox, as ever. */
export const SMALL_INBOX: readonly Edit[] = [
  { file: 'lib/redis/verbs.ts', was: 'const INBOX_ENTRIES = 500;', becomes: 'const INBOX_ENTRIES = 24;' },
  { file: 'apps/gateway/lane.ts', was: 'const LONGEST_STRETCH = 128;', becomes: 'const LONGEST_STRETCH = 16;' },
];

export const attending: readonly Mutant[] = [
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
    name: 'late-close-detaches',
    does: 'the close of a session takes its device out, whichever session that has by now',
    breaks: 'complaints',
    fault: 'late-close',
    edits: [
      {
        file: 'lua/detach.lua',
        was: "if not value or string.match(value, ' (%S+)$') ~= session then",
        becomes: 'if not value then',
      },
    ],
  },
];
