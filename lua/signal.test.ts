import { expect, test } from 'vitest';
import { SignalVerbs } from '../lib/redis/signal-verbs.ts';
import { attached, dump, keys, useStore } from './harness.ts';

const store = useStore();

test('each gateway hears once of all its users, whatever their devices, and nothing is stored', async () => {
  const users = ['bob', 'carol', 'dave', 'erin'].map((name) => sameAs('bob', name));
  const [bob = '', carol = '', dave = '', away = ''] = users;
  await attached(store.verbs, bob, 'phone', 'gw1');
  await attached(store.verbs, bob, 'laptop', 'gw1');
  await attached(store.verbs, bob, 'tablet', 'gw2');
  await attached(store.verbs, carol, 'phone', 'gw1');
  await store.redis.set(keys.sessions(dave), 'of the wrong type');
  const listener = store.redis.duplicate();
  const heard: string[] = [];
  listener.on('smessage', (channel: string, text: string) => heard.push(`${channel} ${text}`));
  const p = keys.partitionOf(bob);
  await listener.ssubscribe(keys.signal(p, 'gw1'), keys.signal(p, 'gw2'));
  const before = await dump(store.redis);

  expect(await new SignalVerbs(store.redis, keys).signal([bob, carol, dave, away], '{"type":"typing"}')).toBe(2);
  await expect.poll(() => heard.length).toBe(2);
  expect(heard.sort()).toEqual([
    `${keys.signal(p, 'gw1')} ${bob} ${carol}\n{"type":"typing"}`,
    `${keys.signal(p, 'gw2')} ${bob}\n{"type":"typing"}`,
  ]);
  expect(await dump(store.redis)).toEqual(before);
  listener.disconnect();
});

/** A name that begins like this and is of the same partition. */
function sameAs(user: string, prefix: string): string {
  for (let n = 0; ; n++) {
    const name = `${prefix}${n}`;
    if (keys.partitionOf(name) === keys.partitionOf(user)) return name;
  }
}
