/** The commands of `millrace`: each has a file beside this one. */
import type { Command } from 'commander';

type Register = (program: Command) => void;

/** In the order in which --help lists them. */
export const commands: Record<string, () => Promise<Register>> = {
  start: async () => (await import('./start.ts')).registerStart,
  chat: async () => (await import('./chat.ts')).registerChatCommand,
  send: async () => (await import('./send.ts')).registerSend,
  tail: async () => (await import('./tail.ts')).registerTail,
  history: async () => (await import('./history.ts')).registerHistory,
  token: async () => (await import('./token.ts')).registerToken,
  inspect: async () => (await import('./inspect.ts')).registerInspect,
  'dead-letters': async () => (await import('./dead-letters.ts')).registerDeadLetters,
  doctor: async () => (await import('./doctor.ts')).registerDoctor,
  plan: async () => (await import('./plan.ts')).registerPlan,
  schema: async () => (await import('./schema.ts')).registerSchema,
};

export const EXIT_CODES = 'Exit codes: 0 done, 1 failed, 2 used wrongly, 78 something to change in the configuration.';
