import { expect, test } from 'vitest';
import { parseCassandraUrl } from './url.ts';

test('an address with several hosts, a data centre and credentials', () => {
  expect(
    parseCassandraUrl('cassandra://us%40er:p%3Aw@a:9043,b,[::1]:9044/millrace?dc=east&replication=3&tls=true'),
  ).toEqual({
    contactPoints: ['a:9043', 'b:9042', '[::1]:9044'],
    keyspace: 'millrace',
    dc: 'east',
    replication: 3,
    tls: true,
    credentials: { username: 'us@er', password: 'p:w' },
  });
});

test('defaults', () => {
  expect(parseCassandraUrl('cassandra://localhost/ks')).toEqual({
    contactPoints: ['localhost:9042'],
    keyspace: 'ks',
    dc: 'datacenter1',
    tls: false,
  });
});

test.each([
  'cassandra://',
  'cassandra://h',
  'cassandra://h/',
  'cassandra://h/Bad-Name',
  'cassandra://h/ks?dc=a&nonsense=1',
  'cassandra://h/ks?replication=x',
  'cassandra://h:99999999/ks',
  'cassandra://user@h/ks',
])('%s is refused with the form that is expected', (url) => {
  expect(() => parseCassandraUrl(url)).toThrow(/expected cassandra:\/\//);
});

test('a password never appears in an error', () => {
  expect(() => parseCassandraUrl('cassandra://u:secret@h/Bad')).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining('secret') }),
  );
});

test.each([
  ['cassandra://h/ks?tls=ture', 'tls is true or false'],
  ['cassandra://h/ks?ca=/etc/ca.pem', 'no tls=true'],
  ['cassandra://h/ks?tls=true&ca=/nowhere', '/nowhere'],
])('%s: a slip of the pen does not end in plain text', (url, why) => {
  expect(() => parseCassandraUrl(url)).toThrow(why);
});
