/** What `connect` waits for, and the errors with which that, and all that hangs on a session, can end. */
import { MillraceError } from '../protocol/errors.ts';
import type { Disconnected, Events } from './events.ts';

export interface ConnectOptions {
  /** False: reject when the first attempt fails, instead of trying on. */
  retry?: boolean;
}

/** Resolves with the first session; rejects when the server refuses for good, or when `failed` throws. */
export function firstSession(events: Events, failed: (why: Disconnected) => void): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const offs = [
      events.on('connected', () => end(resolve)),
      events.on('closed', (why) => end(() => reject(closedError(why.code, why.reason)))),
      events.on('disconnected', (why) => {
        try {
          failed(why);
        } catch (error) {
          end(() => reject(error));
        }
      }),
    ];
    const end = (settle: () => void) => {
      for (const off of offs) off();
      settle();
    };
  });
}

export function closedError(code: number, reason: string): MillraceError {
  const known = code === 4001 ? 'unauthenticated' : code === 4003 ? 'conflict' : 'unavailable';
  return new MillraceError(known, `the session was closed for good (${code}${reason === '' ? '' : `: ${reason}`})`);
}

export function noSessionError(url: string, { reason, cause }: Disconnected): MillraceError {
  return new MillraceError('unavailable', `no session with ${url}: ${reason === '' ? 'it does not answer' : reason}`, {
    cause,
  });
}
