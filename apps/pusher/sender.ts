/** Through what a wake-up leaves, and what became of it. */
import type { PushSnippet } from '../../lib/config/index.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';

/** One wake-up of one device, for all its messages of a burst. */
export interface Wake {
  user: string;
  device: string;
  platform: string;
  token: string;
  /** Messages that it is for. */
  count: number;
  /** The latest of them. */
  sender: string;
  senderName: string;
  channel: string;
  seq: string;
  id: string;
  snippet: string;
}

export type Outcome =
  | { kind: 'sent' }
  /** The token is dead: the app was removed, or got another one. */
  | { kind: 'unregistered' }
  /** It may pass. `everyone`: it was not about this device. */
  | { kind: 'retry'; reason: string; afterMs?: number; everyone?: boolean }
  /** It will not pass. */
  | { kind: 'refused'; reason: string };

export interface Sender {
  /** In words, for the log line at start. */
  readonly description: string;
  /** Never rejects. When `leaving` comes first it ends at once, as something that may pass. */
  send(wake: Wake, leaving?: AbortSignal): Promise<Outcome>;
  close(): Promise<void>;
}

/** Without credentials: says what it would send, by ids alone. */
export function logSender(logger: Logger, snippet: PushSnippet): Sender {
  return {
    description: 'FCM_CREDENTIALS is not set: wake-ups are logged here, and not sent',
    async send({ user, device, platform, channel, seq, id, count }) {
      logger.info({ user, device, platform, channel, seq, id, count, snippet }, 'would send a push');
      return { kind: 'sent' };
    },
    async close() {},
  };
}
