/** What the doctor says of the settings of Redis that decide how much memory a user takes (docs/scaling.md). */
import { Cluster, type Redis } from 'ioredis';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { Finding } from './doctor.ts';
import { nameOf, settingOf } from './doctor-nodes.ts';

/** A stream that holds anything takes a node, of 4 KB by default. */
const MOST_NODE_BYTES = 1024;
/** A hash with a longer value takes twice the memory, and a channel has its last snippet, 80 characters of up to 3 bytes. */
const LEAST_LISTPACK_VALUE = 512;

export function memoryFindings({ command }: RedisStore): Promise<Finding[]> {
  return Promise.all((command instanceof Cluster ? command.nodes('master') : [command]).map(memoryFinding));
}

async function memoryFinding(redis: Redis): Promise<Finding> {
  const what = `Redis ${nameOf(redis)}, memory per user`;
  const [node, value] = await Promise.all(
    ['stream-node-max-bytes', 'hash-max-listpack-value'].map((name) => settingOf(redis, name)),
  );
  if (node === undefined || value === undefined) {
    return { what, state: 'ok', found: 'this user may not read how streams and hashes are kept' };
  }
  const found = `stream-node-max-bytes ${node}, hash-max-listpack-value ${value}`;
  if (node > 0 && node <= MOST_NODE_BYTES && value >= LEAST_LISTPACK_VALUE) return { what, state: 'ok', found };
  const advice = `CONFIG SET stream-node-max-bytes ${MOST_NODE_BYTES} and hash-max-listpack-value ${LEAST_LISTPACK_VALUE}, and the same in redis.conf, of every node: what people leave in Redis takes half as much or less`;
  return { what, state: 'warn', found, advice };
}
