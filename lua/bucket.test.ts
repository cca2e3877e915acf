import { describe, expect, test } from 'vitest';
import { LimitVerbs } from '../lib/redis/limit-verbs.ts';
import { keys, nowMs, useStore } from './harness.ts';

const store = useStore();
const HOUR_MS = 3600_000;
const key = keys.bucket('channels', 'alice');
const take = (perHour = 30) => new LimitVerbs(store.redis, keys).newChannel('alice', perHour);

describe('a bucket for what is rare', () => {
  test('gives what it holds at once, then says how long until there is one more', async () => {
    for (let i = 0; i < 30; i++) expect(await take()).toBe(0);
    const wait = await take();
    expect(wait).toBeLessThanOrEqual(HOUR_MS / 30);
    expect(wait).toBeGreaterThan(HOUR_MS / 30 - 5_000);
    const before = await store.redis.get(key);
    expect(await take()).toBeGreaterThan(0);
    expect(await store.redis.get(key)).toBe(before);
  });

  test('fills evenly', async () => {
    for (let i = 0; i < 30; i++) await take();
    // As if a tenth of an hour had passed.
    await store.redis.set(key, String(Number(await store.redis.get(key)) - HOUR_MS / 10));
    for (let i = 0; i < 3; i++) expect(await take()).toBe(0);
    expect(await take()).toBeGreaterThan(0);
  });

  test('is gone when it is full again', async () => {
    await take();
    const ttl = await store.redis.pttl(key);
    expect(ttl).toBeLessThanOrEqual(HOUR_MS / 30);
    expect(ttl).toBeGreaterThan(HOUR_MS / 30 - 5_000);
  });

  test('after a clock that went back, or with another limit than before, nobody waits longer than an empty bucket', async () => {
    await store.redis.set(key, String((await nowMs(store.redis)) + 100 * HOUR_MS));
    expect(await take()).toBeLessThanOrEqual(HOUR_MS / 30);
    for (let i = 0; i < 30; i++) await take(30);
    expect(await take(60)).toBeLessThanOrEqual(HOUR_MS / 60);
  });

  test('of many at once exactly as many as it holds get one', async () => {
    const waits = await Promise.all(Array.from({ length: 100 }, () => take()));
    expect(waits.filter((wait) => wait === 0)).toHaveLength(30);
  });

  test('users do not touch each other, and a key of the wrong type is an error, not a token', async () => {
    const verbs = new LimitVerbs(store.redis, keys);
    expect(await verbs.newChannel('bob', 1)).toBe(0);
    expect(await verbs.newChannel('carol', 1)).toBe(0);
    await store.redis.lpush(key, 'x');
    await expect(take()).rejects.toThrow('WRONGTYPE');
  });
});
