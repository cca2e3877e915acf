/**
 * The fields that the protocol promises, written down once more by hand: `?` optional, the rest required. Whoever changes
 * a schema by accident is told here; whoever means it changes the contract with clients.
 */
import { expect, test } from 'vitest';
import type { JsonSchema } from './acceptable.ts';
import { calls } from './calls.ts';
import { clientFrames, serverFrames } from './frames.ts';
import { historyEntries } from './http.ts';

function fieldsOf(schema: JsonSchema | undefined): string {
  return Object.keys(schema?.properties ?? {})
    .filter((name) => name !== 'type')
    .map((name) => (schema?.required?.includes(name) ? name : `${name}?`))
    .sort()
    .join(' ');
}

const sorted = (fields: string) => fields.split(' ').sort().join(' ');
const all = (schemas: object) =>
  Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, fieldsOf(schema as JsonSchema)]));
const promised = (fields: Record<string, string>) =>
  Object.fromEntries(Object.entries(fields).map(([name, list]) => [name, sorted(list)]));

const MESSAGE = 'channel seq id from client_id ts content metadata?';
const CHANGE = 'channel seq id target from client_id ts';
const ACCEPTED = 'client_id channel seq id ts duplicate';
const CHANNEL = 'channel title owner last_seq role members';

test('every frame has the fields that the protocol promises, and no other', () => {
  expect(all(clientFrames)).toEqual(
    promised({
      hello: 'token? device since? user? ref?',
      send: 'client_id channel? to? content metadata? ref?',
      ack: 'offset ref?',
      read: 'channel seq ref?',
      edit: 'client_id channel seq content ref?',
      delete: 'client_id channel seq ref?',
      typing: 'channel on ref?',
      watch: 'users ref?',
      unwatch: 'users ref?',
      refresh: 'token ref?',
      ping: 'n? ref?',
    }),
  );
  expect(all(serverFrames)).toEqual(
    promised({
      welcome: 'user device session offset resumed heartbeat_ms limits',
      gap: 'since oldest channels',
      message: `offset ${MESSAGE}`,
      edited: `offset ${CHANGE} content`,
      deleted: `offset ${CHANGE}`,
      created: 'offset channel seq id title? by ts',
      renamed: 'offset channel seq id title by ts',
      member: 'offset channel seq id user action role by ts',
      receipt: 'offset channel user delivered read ts',
      live: 'offset',
      accepted: `${ACCEPTED} ref?`,
      presence: 'user status last_seen ref?',
      typing: 'channel user on',
      refreshed: 'expires ref?',
      pong: 'n? ts ref?',
      goaway: 'reason reconnect_in_ms grace_ms',
      error: 'code message client_id? ref? retry_after_ms?',
    }),
  );
  expect(fieldsOf(serverFrames.welcome.properties.limits)).toBe(
    sorted('sends_per_s burst content_bytes metadata_bytes frame_bytes sessions watched group_members receipts_up_to'),
  );
  expect(all(historyEntries)).toEqual(
    promised({
      message: 'channel seq id from client_id ts content? metadata? edited_at? deleted?',
      edited: `${CHANGE} content?`,
      deleted: CHANGE,
      created: 'channel seq id title? by ts',
      renamed: 'channel seq id title by ts',
      member: 'channel seq id user action role by ts',
    }),
  );
});

/** Call → query or body → status and the fields of its answer. */
const CALLS: Record<string, [asked: string, ...answers: string[]]> = {
  'post /v1/messages': ['channel? to? content client_id metadata?', `202 ${ACCEPTED}`],
  'patch /v1/channels/:channel/messages/:seq': ['client_id content', `202 ${ACCEPTED}`],
  'delete /v1/channels/:channel/messages/:seq': ['client_id? | client_id', `202 ${ACCEPTED}`],
  'get /v1/channels/:channel/messages': ['before? after? limit?', '200 messages last_seq complete_to'],
  'post /v1/channels': ['title? members client_id?', `200 ${CHANNEL}`, `201 ${CHANNEL}`],
  'get /v1/channels/:channel': ['', `200 ${CHANNEL}`],
  'patch /v1/channels/:channel': ['title', `200 ${CHANNEL}`],
  'get /v1/channels/:channel/members': ['', '200 members[user role since]'],
  'put /v1/channels/:channel/members/:user': ['role?', '204'],
  'delete /v1/channels/:channel/members/:user': ['', '204'],
  'get /v1/channels/:channel/receipts': ['', '200 receipts[user delivered read]'],
  'get /v1/conversations': [
    'limit? cursor?',
    '200 conversations[channel title? last_seq read_seq unread left? peer? last_message] unread_total offset next?',
  ],
  'get /v1/presence': ['users', '200 presence[user status last_seen]'],
  'get /v1/devices': ['', '200 devices[device platform? push last_seen connected]'],
  'put /v1/devices/:device': ['platform push_token', '204'],
  'delete /v1/devices/:device': ['', '204'],
  'get /v1/blocks': ['', '200 blocks'],
  'put /v1/blocks/:user': ['', '204'],
  'delete /v1/blocks/:user': ['', '204'],
  'delete /v1/users/:user': ['', '202 state since'],
  'get /v1/users/:user/erasure': ['', '200 state since'],
  'get /v1/users/:user/export': ['', '200'],
  'get /v1/openapi.json': ['', '200'],
  'get /v1/asyncapi.json': ['', '200'],
  'get /healthz': ['', '200 status service pid roles'],
  'get /readyz': ['', '200 status parts', '503 status parts'],
  'get /metrics': ['', '200'],
};

/** With the fields of a list's elements behind it, where they are objects of one form. */
function answerOf(schema: JsonSchema | undefined): string {
  return Object.entries(schema?.properties ?? {})
    .map(([name, field]) => {
      const elements = fieldsOf(field.items);
      return `${name}${elements === '' ? '' : `[${elements}]`}${schema?.required?.includes(name) ? '' : '?'}`;
    })
    .join(' ');
}

test('every call has the fields that the protocol promises, and no other', () => {
  const inOrder = (text: string) => text.replace(/\[(.*?)\]/g, (_, fields: string) => `[${sorted(fields)}]`);
  const found = calls.map(({ method, path, query, body, answers }) => {
    const asked = [query, body]
      .filter((schema) => schema !== undefined)
      .map((schema) => fieldsOf(schema as JsonSchema));
    const told = Object.entries(answers).map(([status, answer]) =>
      `${status} ${answerOf(answer.body as JsonSchema | undefined)}`.trim(),
    );
    return [`${method} ${path}`, [asked.join(' | '), ...told]];
  });
  const expected = Object.entries(CALLS).map(([call, [asked, ...told]]) => [
    call,
    [asked.split(' | ').map(sorted).join(' | '), ...told.map(inOrder)],
  ]);
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected));
});
