/** Planted into where writes and changes of members get their numbers and their answers. */
import type { Mutant } from './mutant.ts';

export const appending: readonly Mutant[] = [
  {
    name: 'number-given-twice',
    does: 'now and then a message gets the number of the one before',
    breaks: 'holes',
    edits: [
      {
        file: 'lua/append.lua',
        was: '{ seq = before, last = head[2] }',
        becomes: '{ seq = head[1] and now % 20 == 0 and before - 1 or before, last = head[2] }',
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
        was: '{ seq = before, last = head[2] }',
        becomes: '{ seq = head[1] and now % 20 == 0 and before + 1 or before, last = head[2] }',
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
        becomes: `  if head[1] and now % 20 == 0 then return { 'ok', head[1] + 1, id, now, 0, 0, tonumber(head[5]) } end
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
