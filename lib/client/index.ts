/** The client library, for browsers and Node. `new MillraceClient({ url, token, device })` is the way in. */
export { ERRORS, type ErrorCode, isFinalClose, MillraceError } from '../protocol/errors.ts';
export type { ChannelInfo, Conversations, History, HistoryQuery, Members } from '../protocol/http.ts';
export { directChannel } from '../protocol/ids.ts';
export { MillraceApi, type NewGroup } from './api.ts';
export { shownForm } from './channel.ts';
export { MillraceClient } from './client.ts';
export type { ConnectOptions } from './connect.ts';
export type { ConnectionState } from './connection.ts';
export type {
  ChannelEvent,
  ClientEvents,
  Closed,
  Disconnected,
  EventOf,
  GapEvent,
  Listener,
  Message,
  PresenceEvent,
  ReceiptEvent,
  TypingEvent,
} from './events.ts';
export type { MillraceClientOptions } from './options.ts';
export type { Accepted } from './outbox.ts';
export type { Deletion, Edit, Outgoing } from './outgoing.ts';
export type { Tick, Watermarks } from './receipts.ts';
export {
  type ClientStorage,
  MemoryStorage,
  type OutboxItem,
  type Progress,
  type Saved,
  WebStorage,
} from './storage.ts';
export type { TokenOption } from './token.ts';
export type { Presence } from './watches.ts';
