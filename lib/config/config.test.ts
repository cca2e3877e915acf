import { describe, expect, test } from 'vitest';
import { ConfigError, loadConfig, variableList, withoutPassword } from './index.ts';

const message = (env: NodeJS.ProcessEnv): string => {
  try {
    loadConfig(env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('it was accepted');
};

describe('configuration', () => {
  test('an empty environment gives the documented defaults', () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      redisUrl: 'redis://127.0.0.1:6379',
      archiveUrl: 'sqlite:.millrace/archive.sqlite',
      port: 8080,
      host: '127.0.0.1',
      partitions: 16,
      ackReplicas: 0,
      production: false,
    });
    expect(config.jwtSecret).toBeUndefined();
    expect(config.limits).toMatchObject({ sends_per_s: 20, burst: 40, content_bytes: 8192, frame_bytes: 16_384 });
  });

  test('everything that is wrong is named in one message', () => {
    const text = message({ PORT: '80a', PARTITIONS: '12', REDIS_URL: 'http://x', ARCHIVE_URL: 'x', LOG_LEVEL: 'loud' });
    for (const name of ['PORT', 'PARTITIONS', 'REDIS_URL', 'ARCHIVE_URL', 'LOG_LEVEL']) expect(text).toContain(name);
  });

  test('numbers outside their range, negative, fractional or exponential are refused', () => {
    for (const PORT of ['65536', '-1', '1.5', '1e3', ' 80', '0x50']) expect(message({ PORT })).toContain('PORT');
  });

  test('ACK_REPLICAS is how many replicas must have a message', () => {
    expect(loadConfig({ ACK_REPLICAS: '1' }).ackReplicas).toBe(1);
    expect(message({ ACK_REPLICAS: '-1' })).toContain('ACK_REPLICAS');
  });

  test('production refuses a missing or short secret, and never prints it', () => {
    expect(message({ NODE_ENV: 'production' })).toContain('JWT_SECRET');
    expect(message({ NODE_ENV: 'production', JWT_SECRET: 'hunter2' })).not.toContain('hunter2');
    expect(loadConfig({ NODE_ENV: 'production', JWT_SECRET: 'x'.repeat(32) }).production).toBe(true);
  });

  test('connections of an address are limited in production alone, unless it is said how many', () => {
    const per = (env: Record<string, string>) => loadConfig(env, { checksTokens: false }).pace.connectionsPerMin;
    expect(per({})).toBe(0);
    expect(per({ NODE_ENV: 'production' })).toBe(30);
    expect(per({ LIMIT_CONNECTIONS_PER_MIN: '5' })).toBe(5);
    expect(per({ NODE_ENV: 'production', LIMIT_CONNECTIONS_PER_MIN: '0' })).toBe(0);
  });

  test('every variable has a sentence and a unit, and no name comes twice', () => {
    expect(new Set(variableList.map((v) => v.name)).size).toBe(variableList.length);
    for (const variable of variableList) {
      expect(variable.means).toMatch(/\.$/);
      expect(variable.unit).not.toBe('');
    }
  });

  test('passwords are taken out of URLs, lists of hosts included', () => {
    expect(withoutPassword('redis://:secret@a:1/0')).toBe('redis://***@a:1/0');
    expect(withoutPassword('redis+cluster://u:p@ss@a:1,b:2')).toBe('redis+cluster://***@a:1,b:2');
    expect(withoutPassword('sqlite:a@b')).toBe('sqlite:a@b');
  });
});
