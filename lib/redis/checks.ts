/** Refuses to start against a Redis that would lose or mix up data, and says what to change. */
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { DEPLOYMENT_KEY } from '../keyspace/index.ts';
import type { RedisStore } from './connect.ts';
import { StartupError } from './errors.ts';

export { StartupError } from './errors.ts';

export interface DeploymentOptions {
  partitions: number;
  /** NODE_ENV=production: what is only a warning otherwise is refused. */
  production: boolean;
  /** That a message waits for. */
  ackReplicas?: number;
  logger: Logger;
}

export interface ServerFacts {
  /** host:port */
  server: string;
  version: string;
  evicts: boolean;
  maxmemoryPolicy: string;
  appendOnly: boolean;
  /** Attached to it. */
  replicas: number;
}

/**
 * Checks every primary's version, eviction policy and append-only file; then creates the deployment's settings, or
 * compares them with ours. Throws StartupError.
 */
export async function checkDeployment(store: RedisStore, options: DeploymentOptions): Promise<void> {
  const { partitions, production, ackReplicas = 0, logger } = options;
  for (const facts of await serverFacts(store)) {
    const { server, version, maxmemoryPolicy } = facts;
    if (Number(version.split('.', 1)[0]) < 7) {
      throw new StartupError(`Redis at ${server} is version ${version}: Millrace needs 7.0 or newer.`);
    }
    if (facts.evicts) {
      throw new StartupError(
        `Redis at ${server} evicts keys when its memory is full (maxmemory-policy ${maxmemoryPolicy}), which would lose ` +
          'messages: set "maxmemory-policy noeviction" in its redis.conf, or run CONFIG SET maxmemory-policy noeviction.',
      );
    }
    if (!facts.appendOnly) {
      const problem =
        `Redis at ${server} has no append-only file: a restart loses accepted messages. Set "appendonly yes" in its ` +
        'redis.conf, or run CONFIG SET appendonly yes.';
      if (production) throw new StartupError(problem);
      logger.warn({ server }, problem);
    }
    if (facts.replicas < ackReplicas) {
      logger.warn(
        { server, replicas: facts.replicas },
        `Redis at ${server} has ${facts.replicas} replicas, and ACK_REPLICAS is ${ackReplicas}: until it has as many, sends ` +
          'are answered unavailable. Attach replicas, or lower ACK_REPLICAS.',
      );
    }
  }
  // One step decides between processes that start together.
  await store.command.hsetnx(DEPLOYMENT_KEY, 'partitions', partitions);
  const stored = await store.command.hget(DEPLOYMENT_KEY, 'partitions');
  if (stored !== String(partitions)) {
    throw new StartupError(
      `this deployment was created with PARTITIONS=${stored}, and this process has PARTITIONS=${partitions}: the count ` +
        `cannot change later. Set PARTITIONS=${stored}, or use another Redis (${store.address}).`,
    );
  }
}

/** What INFO says (CONFIG is often forbidden on managed servers), of every primary. */
export async function serverFacts(store: RedisStore): Promise<ServerFacts[]> {
  const servers: Redis[] = store.command instanceof Cluster ? store.command.nodes('master') : [store.command];
  return Promise.all(
    servers.map(async (redis): Promise<ServerFacts> => {
      const info = await redis.info();
      const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
      const maxmemoryPolicy = field('maxmemory_policy');
      const { host, port } = redis.options;
      return {
        server:
          store.kind === 'sentinel' ? `${redis.stream.remoteAddress}:${redis.stream.remotePort}` : `${host}:${port}`,
        version: field('redis_version'),
        maxmemoryPolicy,
        evicts: maxmemoryPolicy !== 'noeviction',
        appendOnly: field('aof_enabled') === '1',
        replicas: Number(field('connected_slaves')),
      };
    }),
  );
}
