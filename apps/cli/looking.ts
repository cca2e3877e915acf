/** A connection to look around with, and the redis-cli line that begins the same way. */
import { type Keyspace, keyspace } from '../../lib/keyspace/index.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { StartupError } from '../../lib/redis/errors.ts';
import { createLogger } from '../../lib/telemetry/logger.ts';
import { operatorConfig, startHint } from './credentials.ts';
import type { Section } from './table.ts';

export interface Looking {
  store: RedisStore;
  keys: Keyspace;
  /** `redis-cli -p 6379`, to which the command is added. */
  cli: string;
}

/** Runs with a connection that ends with it. */
export async function look(what: (looking: Looking) => Promise<Section[]>): Promise<Section[]> {
  const config = operatorConfig();
  const logger = createLogger({ name: 'inspect', level: 'error' });
  const store = await connect(config.redisUrl, { logger, name: 'millrace-inspect', timeoutMs: 5000 }).catch((error) => {
    if (error instanceof StartupError) throw new StartupError(error.message + startHint(), { cause: error });
    throw error;
  });
  try {
    // The deployment knows its partition count better than our environment does.
    const stored = Number(await store.command.hget('millrace', 'partitions')) || config.partitions;
    return await what({ store, keys: keyspace(stored, { oneNode: store.kind !== 'cluster' }), cli: redisCli(store) });
  } finally {
    await store.close();
  }
}

/** Without user and password: those belong into REDISCLI_AUTH. */
export function redisCli({ kind, address }: Pick<RedisStore, 'kind' | 'address'>): string {
  if (kind === 'sentinel') return 'redis-cli -h <the primary>';
  const [, tls, host = '127.0.0.1', port = '6379', database] =
    /^redis(s?)(?:\+cluster)?:\/\/(?:[^/@]*@)?(\[[^\]]+\]|[^:/,]+)?(?::(\d+))?[^/]*(?:\/(\d+))?/.exec(address) ?? [];
  return [
    'redis-cli',
    kind === 'cluster' ? '-c' : '',
    host === '127.0.0.1' || host === 'localhost' ? '' : `-h ${host}`,
    port === '6379' ? '' : `-p ${port}`,
    tls ? '--tls' : '',
    database && database !== '0' ? `-n ${database}` : '',
  ]
    .filter((part) => part !== '')
    .join(' ');
}

/** Entries behind are counted by reading them: up to this many. */
export const COUNT_AT_MOST = 1000;

export const counted = (n: number): string | number => (n > COUNT_AT_MOST ? `over ${COUNT_AT_MOST}` : n);
