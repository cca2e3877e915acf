import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { rules } from './acl.ts';

/** Only ever published to: nothing is stored under this name. */
const CHANNEL = '&signal:{*';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

test('every command of every script is allowed to the Redis user of Millrace (add new ones to millrace.acl)', () => {
  const scripts = [
    ...readdirSync(new URL('../../lua/', import.meta.url)),
    ...readdirSync(new URL('../../lua/include/', import.meta.url)).map((name) => `include/${name}`),
  ];
  const missing = new Set<string>();
  for (const name of scripts.filter((file) => file.endsWith('.lua'))) {
    for (const [, command = ''] of read(`lua/${name}`).matchAll(/call\(\s*'(\w+)'/g)) {
      const allowed = rules.some((rule) => rule.split('|')[0] === `+${command.toLowerCase()}`);
      if (!allowed) missing.add(`${command} (${name})`);
    }
  }
  expect([...missing]).toEqual([]);
});

test('every kind of key is, and none that nobody named', () => {
  const kinds = [...read('lib/keyspace/index.ts').matchAll(/`([a-z_]+):\$\{/g)].map(([, kind]) => `~${kind}:{*`);
  expect(kinds.length).toBeGreaterThan(15);
  expect(kinds.filter((kind) => !rules.includes(kind) && kind !== CHANNEL.replace('&', '~'))).toEqual([]);
  expect(rules).toContain(CHANNEL);
  expect(rules).not.toContain(CHANNEL.replace('&', '~'));
  expect(rules.filter((rule) => /^(~\*|&\*|allkeys|allchannels|\+@)/.test(rule))).toEqual([]);
});

test('nothing is allowed that looks at or changes the server', () => {
  const dangerous = [
    'config',
    'debug',
    'shutdown',
    'flushall',
    'flushdb',
    'keys',
    'acl',
    'replicaof',
    'module',
    'monitor',
    'migrate',
    'restore',
    'save',
    'script',
    'function',
    'failover',
    'client|kill',
  ];
  expect(dangerous.filter((command) => rules.includes(`+${command}`))).toEqual([]);
});
