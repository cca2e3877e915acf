/** Planted into wake-ups. */
import type { Mutant } from './mutant.ts';

/** Long enough that somebody is away for longer than the pusher waits. */
const run = { seconds: 25 };

export const pushing: readonly Mutant[] = [
  {
    name: 'own-pushed',
    does: 'one’s own messages wake one’s devices, too',
    breaks: 'pushedWrongly',
    run,
    edits: [
      {
        file: 'lua/deliver.lua',
        was: "local for_others = not own and ARGV[at + 1] == 'message'",
        becomes: "local for_others = ARGV[at + 1] == 'message'",
      },
    ],
  },
];
