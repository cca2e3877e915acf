/** Planted into how devices come, come back, and leave, and what a gateway does meanwhile. */
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
  {
    name: 'online-unsaid',
    does: 'who comes is not noted as online',
    breaks: 'presence',
    edits: [
      {
        file: 'lua/include/presence.lua',
        was: "if redis.pcall('HGET', presence, 'status') == 'online' then return 0 end",
        becomes: 'if true then return 0 end',
      },
    ],
  },
  {
    name: 'refusal-holds-up',
    does: 'a gateway does nothing else for 2 s when it refuses a frame, one time in 300',
    breaks: 'noticed',
    fault: 'fuzz',
    // How long it takes before has to be known, too.
    run: { seconds: 20 },
    edits: [
      {
        file: 'apps/gateway/socket.ts',
        was: 'session.refuse(new MillraceError(parsed.error.code, parsed.error.message), parsed.error);',
        becomes: `if (Math.random() < 1 / 300) for (const end = performance.now() + 2_000; performance.now() < end; );
        session.refuse(new MillraceError(parsed.error.code, parsed.error.message), parsed.error);`,
      },
    ],
  },
];
