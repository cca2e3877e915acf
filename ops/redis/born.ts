/** For tests that call scripts without a gateway: every partition began on an empty archive. */
import type { Cluster, Redis } from 'ioredis';
import type { Keyspace } from '../../lib/keyspace/index.ts';

export async function born(redis: Redis | Cluster, keys: Keyspace): Promise<void> {
  await Promise.all(Array.from({ length: keys.partitions }, (_, p) => redis.set(keys.born(p), '1')));
}
