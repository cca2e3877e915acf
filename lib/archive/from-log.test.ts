import { expect, test } from 'vitest';
import { rowOf } from './from-log.ts';

const head = (type: string) => [
  'type',
  type,
  'channel',
  'g:a',
  'seq',
  '3',
  'id',
  'uuid',
  'from',
  'alice',
  'cid',
  'c1',
  'ts',
  '5',
];
const common = { channel: 'g:a', seq: 3, id: 'uuid', logId: '5-0', from: 'alice', clientId: 'c1', ts: 5 };

test('a message keeps its text and leaves what only delivery needs behind', () => {
  const fields = [
    ...head('message'),
    'prev',
    '4-0',
    'mv',
    '2',
    'content',
    'hi',
    'metadata',
    '{"a":"b"}',
    'name',
    'Al',
    'via',
    'd',
  ];
  expect(rowOf({ id: '5-0', fields })).toEqual({ ...common, type: 'message', content: 'hi', metadata: '{"a":"b"}' });
});

test('events keep their own fields as JSON', () => {
  const prev = ['prev', '4-0', 'mv', '2'];
  const created = rowOf({ id: '5-0', fields: [...head('created'), ...prev, 'members', 'alice bob', 'title', 'T "x"'] });
  expect(created).toEqual({ ...common, type: 'created', data: '{"members":["alice","bob"],"title":"T \\"x\\""}' });
  const member = rowOf({
    id: '5-0',
    fields: [...head('member'), ...prev, 'user', 'bob', 'action', 'added', 'role', 'member'],
  });
  expect(member).toEqual({ ...common, type: 'member', data: '{"user":"bob","action":"added","role":"member"}' });
});

test('an entry without what every event has is refused by name', () => {
  expect(() => rowOf({ id: '5-0', fields: head('message').slice(2) })).toThrow(/type is missing/);
  expect(() => rowOf({ id: '5-0', fields: head('message').with(5, 'x') })).toThrow(/seq is not a whole number/);
});
