/** Planted into wake-ups. */
import type { Mutant } from './mutant.ts';

/** Long enough that somebody is away for longer than the pusher waits. */
const run = { seconds: 25 };

export const pushing: readonly Mutant[] = [
  {
    name: 'push-dropped',
    does: 'the pusher takes every other wake-up for sent without sending it',
    breaks: 'unpushed',
    run,
    edits: [
      {
        file: 'apps/pusher/waker.ts',
        was: 'const outcome: Outcome = await sender.send({ ...wakeup, device, ...target }, state.leaving.signal);',
        becomes: `const dropped = Math.random() < 0.5;
    const outcome: Outcome = dropped
      ? { kind: 'sent' }
      : await sender.send({ ...wakeup, device, ...target }, state.leaving.signal);`,
      },
    ],
  },
  {
    name: 'own-pushed',
    does: 'one’s own messages wake one’s devices, too',
    breaks: 'pushedWrongly',
    run,
    edits: [
      {
        file: 'lua/deliver.lua',
        was: "local for_others = not own and ARGV[at] == 'message'",
        becomes: "local for_others = ARGV[at] == 'message'",
      },
    ],
  },
];
