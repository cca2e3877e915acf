/** What a deployment allows. Sizes are UTF-8 bytes. Told to clients in `welcome.limits` under these names. */
export interface Limits {
  /** Sends per second, per user and gateway, in the long run. */
  sends_per_s: number;
  /** Sends at once after a quiet time. */
  burst: number;
  content_bytes: number;
  metadata_bytes: number;
  /** One WebSocket frame. */
  frame_bytes: number;
  /** Sessions of one user at once. */
  sessions: number;
  /** Users whose presence one session watches. */
  watched: number;
  /** Members of a group, its creator included. */
  group_members: number;
  /** Groups up to this size tell every member of the others' receipts and typing. */
  receipts_up_to: number;
}

export const DEFAULT_LIMITS: Readonly<Limits> = {
  sends_per_s: 20,
  burst: 40,
  content_bytes: 8192,
  metadata_bytes: 2048,
  frame_bytes: 16_384,
  sessions: 8,
  watched: 500,
  group_members: 500,
  receipts_up_to: 32,
};

/** Limits that belong to the protocol itself and are not configured. */
export const BODY_BYTES = 1_048_576;
export const HELLO_WITHIN_MS = 10_000;
export const HEARTBEAT_MS = 30_000;
export const SILENCE_MS = 75_000;
export const TITLE_CHARACTERS = 200;
export const REF_CHARACTERS = 64;
export const PUSH_TOKEN_BYTES = 4096;
export const HISTORY_PAGE = { default: 50, max: 200 } as const;
export const CONVERSATIONS_PAGE = { default: 50, max: 100 } as const;
export const PRESENCE_USERS = 100;
