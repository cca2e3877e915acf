import { afterEach, expect, it } from 'vitest';
import { type ClientEvents, Emitter } from '../../lib/client/events.ts';
import type { Presence } from '../../lib/client/index.ts';
import { People, type Watching } from './chat-people.ts';

const ends: People[] = [];
afterEach(() => {
  for (const people of ends.splice(0)) people.stop();
});

/** A client that knows what a test tells it. */
class Told extends Emitter<ClientEvents> implements Watching {
  readonly watched = new Set<string>();
  readonly asked: string[] = [];
  private readonly known = new Map<string, Presence>();
  readonly users = ['me', 'alice', 'bob', 'carol'];

  constructor() {
    super((error) => {
      throw error;
    });
  }

  watch(users: readonly string[]): void {
    for (const user of users) if (!this.watched.has(user)) this.asked.push(user);
    for (const user of users) this.watched.add(user);
  }

  unwatch(users: readonly string[]): void {
    for (const user of users) this.watched.delete(user);
  }

  presence(user: string): Presence | undefined {
    return this.known.get(user);
  }

  async members() {
    return this.users.map((user, i) => ({ user, role: i === 0 ? ('owner' as const) : ('member' as const), since: 1 }));
  }

  tell(user: string, status: Presence['status'], lastSeen: number | null): void {
    this.known.set(user, { status, lastSeen });
    this.emit('presence', { user, status, lastSeen });
  }

  member(user: string, action: 'added' | 'removed'): void {
    const event = { channel: 'g:one', seq: 2, id: '', ts: 0, by: 'me', role: 'member' } as const;
    this.emit('member', { ...event, type: 'member', user, action });
  }
}

function people() {
  const client = new Told();
  let changes = 0;
  const about = new People(client, 'me', () => {
    changes++;
  });
  ends.push(about);
  return { client, about, changes: () => changes };
}

it('of a group it is counted who is there, and said who is typing; members come and go', async () => {
  const { client, about, changes } = people();
  await about.enter('g:one');
  expect([...client.watched]).toEqual(['alice', 'bob', 'carol']);
  client.tell('alice', 'online', 1);
  client.tell('bob', 'offline', 1);
  expect(about.status()).toBe('1 of 3 others online');
  const before = changes();
  for (const user of ['alice', 'me']) client.emit('typing', { channel: 'g:one', user, on: true });
  client.emit('typing', { channel: 'g:other', user: 'bob', on: true });
  expect(changes()).toBe(before + 1);
  expect(about.status()).toBe('1 of 3 others online, alice is typing…');
  client.emit('typing', { channel: 'g:one', user: 'bob', on: true });
  expect(about.status()).toMatch(/alice and bob are typing…$/);
  client.emit('typing', { channel: 'g:one', user: 'carol', on: true });
  expect(about.status()).toMatch(/3 are typing…$/);
  client.member('alice', 'removed');
  expect(about.status()).toBe('0 of 2 others online, bob and carol are typing…');
  client.member('dave', 'added');
  client.tell('dave', 'online', 1);
  expect(about.status()).toMatch(/^1 of 3 others online/);
  expect([...client.watched].sort()).toEqual(['bob', 'carol', 'dave']);
  await about.enter('dm:bob:me');
  expect([...client.watched]).toEqual(['bob']);
  about.leave();
  expect([...client.watched]).toEqual([]);
  expect(about.status()).toBe('');
});

it('of one person it is said since when they are away; of a stranger it is asked again once they have received something', async () => {
  const { client, about } = people();
  await about.enter('dm:bob:me');
  client.tell('bob', 'offline', null);
  expect(about.status()).toBe('bob is offline');
  client.emit('receipt', { channel: 'dm:bob:me', user: 'bob', delivered: 1, read: 0 });
  expect(client.asked).toEqual(['bob', 'bob']);
  client.tell('bob', 'offline', Date.now() - 3 * 60_000);
  expect(about.status()).toBe('bob was last seen 3 min ago');
  client.emit('receipt', { channel: 'dm:bob:me', user: 'bob', delivered: 1, read: 1 });
  expect(client.asked).toEqual(['bob', 'bob']);
});

it('without a connection nothing is claimed, and who typed before it types no more', async () => {
  const { client, about } = people();
  await about.enter('dm:bob:me');
  client.tell('bob', 'online', 1);
  client.emit('typing', { channel: 'dm:bob:me', user: 'bob', on: true });
  client.emit('disconnected', { code: 1006, reason: '', retryInMs: 1 });
  expect(about.status()).toBe('not connected');
  client.emit('live', { offset: '1-1' });
  expect(about.status()).toBe('bob is online');
});
