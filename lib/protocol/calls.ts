/** The calls of the HTTP API: which path takes and answers what. The OpenAPI document is made from this list. */
import type Type from 'typebox';
import type { ErrorCode } from './errors.ts';
import * as http from './http.ts';

type Schema = Type.TSchema;

export interface Call {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** With parameters as `:name`, as routers take them. */
  path: string;
  summary: string;
  /** Works without a token. */
  open?: true;
  /** Counts against the user's sends: answers carry the RateLimit headers. */
  limited?: true;
  params?: Schema;
  query?: Schema;
  body?: Schema;
  bodyOptional?: true;
  /** Status to what it means and its body, if any. */
  answers: Record<number, { meaning: string; body?: Schema; contentType?: string }>;
  /** Besides those that every call may answer. */
  errors: readonly ErrorCode[];
}

const none = (meaning: string) => ({ 204: { meaning } });
const json = (body: Schema, meaning: string) => ({ 200: { meaning, body } });
const accepted = { 202: { meaning: 'Durable, or a duplicate of what is.', body: http.Accepted } };
const reference = { 200: { meaning: 'This reference.', body: http.ExportLine } };

const MESSAGE = '/v1/channels/:channel/messages/:seq';
const MEMBER = '/v1/channels/:channel/members/:user';

export const calls: readonly Call[] = [
  {
    method: 'post',
    path: '/v1/messages',
    summary: 'Send a message',
    limited: true,
    body: http.PostMessage,
    answers: accepted,
    errors: ['forbidden', 'not_found', 'too_large', 'rate_limited'],
  },
  {
    method: 'patch',
    path: MESSAGE,
    summary: 'Edit one’s own message',
    limited: true,
    params: http.MessagePath,
    body: http.PatchMessage,
    answers: accepted,
    errors: ['forbidden', 'not_found', 'too_large', 'rate_limited'],
  },
  {
    method: 'delete',
    path: MESSAGE,
    summary: 'Delete one’s own message (client_id in the body or the query)',
    limited: true,
    params: http.MessagePath,
    query: http.DeleteMessageQuery,
    body: http.DeleteMessage,
    bodyOptional: true,
    answers: accepted,
    errors: ['forbidden', 'not_found', 'rate_limited'],
  },
  {
    method: 'get',
    path: '/v1/channels/:channel/messages',
    summary: 'History: messages and events, dense in seq',
    params: http.ChannelPath,
    query: http.HistoryQuery,
    answers: json(http.History, 'A page; a member sees from their joining on.'),
    errors: ['forbidden', 'not_found'],
  },
  {
    method: 'post',
    path: '/v1/channels',
    summary: 'Create a group',
    body: http.PostChannel,
    answers: {
      201: { meaning: 'The new group.', body: http.ChannelInfo },
      200: { meaning: 'The group that this client_id had made before.', body: http.ChannelInfo },
    },
    errors: ['conflict'],
  },
  {
    method: 'get',
    path: '/v1/channels/:channel',
    summary: 'A channel',
    params: http.ChannelPath,
    answers: json(http.ChannelInfo, 'The channel.'),
    errors: ['forbidden', 'not_found'],
  },
  {
    method: 'patch',
    path: '/v1/channels/:channel',
    summary: 'Rename a group (owner and admins)',
    params: http.ChannelPath,
    body: http.PatchChannel,
    answers: json(http.ChannelInfo, 'The channel as it is now.'),
    errors: ['forbidden', 'not_found'],
  },
  {
    method: 'get',
    path: '/v1/channels/:channel/members',
    summary: 'Members of a channel',
    params: http.ChannelPath,
    answers: json(http.Members, 'All members.'),
    errors: ['forbidden', 'not_found'],
  },
  {
    method: 'put',
    path: MEMBER,
    summary: 'Add a member, or change a role',
    params: http.MemberPath,
    body: http.PutMember,
    bodyOptional: true,
    answers: none('A member with this role, now or before.'),
    errors: ['forbidden', 'not_found', 'conflict'],
  },
  {
    method: 'delete',
    path: MEMBER,
    summary: 'Remove a member, or leave',
    params: http.MemberPath,
    answers: none('No member, now or before.'),
    errors: ['forbidden', 'not_found'],
  },
  {
    method: 'get',
    path: '/v1/channels/:channel/receipts',
    summary: 'Watermarks of the members',
    params: http.ChannelPath,
    answers: json(
      http.Receipts,
      'What each member has received and read; what was before their joining counts as read.',
    ),
    errors: ['forbidden', 'not_found'],
  },
  {
    method: 'get',
    path: '/v1/conversations',
    summary: 'One’s conversations, latest first',
    query: http.ConversationsQuery,
    answers: json(http.Conversations, 'A page, and the inbox position that it reflects.'),
    errors: [],
  },
  {
    method: 'get',
    path: '/v1/presence',
    summary: 'Who is online',
    query: http.PresenceQuery,
    answers: json(http.Presence, 'One entry per user asked for.'),
    errors: [],
  },
  {
    method: 'get',
    path: '/v1/devices',
    summary: 'One’s own devices',
    answers: json(http.Devices, 'The known devices.'),
    errors: [],
  },
  {
    method: 'put',
    path: '/v1/devices/:device',
    summary: 'Register a push token',
    params: http.DevicePath,
    body: http.PutDevice,
    answers: none('Registered; a token belongs to the last user who registered it.'),
    errors: [],
  },
  {
    method: 'delete',
    path: '/v1/devices/:device',
    summary: 'Forget a device',
    params: http.DevicePath,
    answers: none('Forgotten.'),
    errors: [],
  },
  {
    method: 'get',
    path: '/v1/blocks',
    summary: 'Whom one blocks',
    answers: json(http.Blocks, 'User ids.'),
    errors: [],
  },
  {
    method: 'put',
    path: '/v1/blocks/:user',
    summary: 'Block a user',
    params: http.UserPath,
    answers: none('Blocked: no direct messages, typing or presence between the two, both ways.'),
    errors: [],
  },
  {
    method: 'delete',
    path: '/v1/blocks/:user',
    summary: 'Unblock a user',
    params: http.UserPath,
    answers: none('Not blocked.'),
    errors: [],
  },
  {
    method: 'delete',
    path: '/v1/users/:user',
    summary: 'Erase a user (oneself, or as admin)',
    params: http.UserPath,
    answers: {
      202: {
        meaning:
          'Begun; the user’s sessions are closed 4001, and until it is done nobody acts as the user: `unavailable`.',
        body: http.Erasure,
      },
    },
    errors: ['forbidden'],
  },
  {
    method: 'get',
    path: '/v1/users/:user/erasure',
    summary: 'How far an erasure is (admin)',
    params: http.UserPath,
    answers: json(http.Erasure, 'Its state.'),
    errors: ['forbidden'],
  },
  {
    method: 'get',
    path: '/v1/users/:user/export',
    summary: 'Everything a user wrote, their channels and devices (oneself, or as admin)',
    params: http.UserPath,
    answers: {
      200: { meaning: 'One JSON object per line.', body: http.ExportLine, contentType: 'application/x-ndjson' },
    },
    errors: ['forbidden'],
  },
  {
    method: 'get',
    path: '/v1/openapi.json',
    summary: 'This document',
    open: true,
    answers: reference,
    errors: [],
  },
  {
    method: 'get',
    path: '/v1/asyncapi.json',
    summary: 'The reference of the WebSocket',
    open: true,
    answers: reference,
    errors: [],
  },
  {
    method: 'get',
    path: '/healthz',
    summary: 'Liveness',
    open: true,
    answers: json(http.Health, 'The process runs.'),
    errors: [],
  },
  {
    method: 'get',
    path: '/readyz',
    summary: 'Readiness',
    open: true,
    answers: {
      200: { meaning: 'Not draining, and most of Redis is reachable.', body: http.Readiness },
      503: { meaning: 'Not ready.', body: http.Readiness },
    },
    errors: [],
  },
  {
    method: 'get',
    path: '/metrics',
    summary: 'Prometheus metrics',
    open: true,
    answers: { 200: { meaning: 'Text exposition format.', contentType: 'text/plain' } },
    errors: [],
  },
];
