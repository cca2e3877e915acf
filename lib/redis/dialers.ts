/** Where blocking connections and subscriptions go: to the one primary, or to the owner of a partition's slot. */
import keySlot from 'cluster-key-slot';
import { type Cluster, Redis, type RedisOptions } from 'ioredis';
import { tagOf } from '../partitions/slices.ts';
import type { Dialer } from './blocking.ts';
import { RedisUnreachableError } from './errors.ts';
import type { SubscriptionServers } from './subscription-link.ts';
import type { Topology } from './topology.ts';

/** ioredis' own, but always with its RESP2-like replies. */
export type Settings = Omit<RedisOptions, 'replyMapping'>;

/** No reconnecting, and no socket time-out: the watchdog of the blocking connection decides. */
function forBlocking(settings: Settings): Settings {
  const { socketTimeout: _, ...rest } = settings;
  return {
    ...rest,
    connectionName: `${settings.connectionName}-blocking`,
    lazyConnect: true,
    enableAutoPipelining: false,
    // Read by Wire.
    protocol: 2,
    retryStrategy: null,
  };
}

/** No reconnecting and no time-out of ioredis' own: the subscriber pings, and decides. */
function forSubscribing(settings: Settings): Settings {
  const { socketTimeout: _, ...rest } = settings;
  return {
    ...rest,
    connectionName: `${settings.connectionName}-subscriber`,
    lazyConnect: true,
    enableAutoPipelining: false,
    autoResubscribe: false,
    retryStrategy: null,
  };
}

/** Standalone, or the primary that the Sentinels name. */
export function singleDialer(command: Redis, settings: Settings, topology: Topology): Dialer {
  return {
    dial: () => new Redis(forBlocking(settings)),
    isCurrent: (client) => sameServer(client, command),
    lookAgain: () => undefined, // the shared connection does by itself
    onTopologyChange: (listener) => topology.onChange(listener),
  };
}

/**
 * After a failover by Sentinel the commands go to another server; the old one must not be read any more. What is not
 * connected yet has no address, and may come to be the same.
 */
function sameServer({ stream }: Redis, { stream: other }: Redis): boolean {
  if (stream?.remoteAddress === undefined) return true;
  return stream.remoteAddress === other.remoteAddress && stream.remotePort === other.remotePort;
}

export function singleSubscriptions(command: Redis, settings: Settings, topology: Topology): SubscriptionServers {
  return {
    serverOf: () => 'primary',
    slotOf: () => 0,
    dial: () => new Redis(forSubscribing(settings)),
    isCurrent: (client) => sameServer(client, command),
    onTopologyChange: (listener) => topology.onChange(listener),
  };
}

export function clusterSubscriptions(cluster: Cluster, settings: Settings, topology: Topology): SubscriptionServers {
  return {
    serverOf: (channel) => cluster.slots[keySlot(channel)]?.[0],
    slotOf: (channel) => keySlot(channel),
    dial: (server) => new Redis({ ...forSubscribing(settings), ...addressOf(server) }),
    isCurrent: () => true,
    onTopologyChange: (listener) => topology.onChange(listener),
  };
}

/** `host:port`, the host perhaps an IPv6 address. */
function addressOf(server: string): { host: string; port: number } {
  const colon = server.lastIndexOf(':');
  return { host: server.slice(0, colon), port: Number(server.slice(colon + 1)) };
}

export function clusterDialer(
  cluster: Cluster,
  settings: Settings,
  topology: Topology,
  partition: number,
  partitions: number,
): Dialer {
  const slot = keySlot(tagOf(partition, partitions));
  const owner = (): string | undefined => cluster.slots[slot]?.[0];
  return {
    dial(moved) {
      const address = moved ?? owner();
      if (address === undefined) throw new RedisUnreachableError(`no server has slot ${slot}`);
      return new Redis({ ...forBlocking(settings), ...addressOf(address) });
    },
    isCurrent: ({ options }) => `${options.host}:${options.port}` === owner(),
    lookAgain: () => topology.lookAgain(),
    onTopologyChange: (listener) => topology.onChange(listener),
  };
}
