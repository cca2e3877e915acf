/** Where blocking connections go: to the one primary, or to the owner of a partition's slot. */
import keySlot from 'cluster-key-slot';
import { type Cluster, Redis, type RedisOptions } from 'ioredis';
import { tagOf } from '../partitions/slices.ts';
import type { Dialer } from './blocking.ts';
import { RedisUnreachableError } from './errors.ts';
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
    // Read by StreamReader.
    protocol: 2,
    retryStrategy: null,
  };
}

/** Standalone, or the primary that the Sentinels name. */
export function singleDialer(command: Redis, settings: Settings, topology: Topology): Dialer {
  return {
    dial: () => new Redis(forBlocking(settings)),
    // After a failover by Sentinel the commands go to another server; the old one must not be read any more.
    isCurrent: ({ stream }) =>
      stream.remoteAddress === command.stream.remoteAddress && stream.remotePort === command.stream.remotePort,
    onTopologyChange: (listener) => topology.onChange(listener),
  };
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
      const colon = address.lastIndexOf(':');
      const server = { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
      return new Redis({ ...forBlocking(settings), ...server });
    },
    isCurrent: ({ options }) => `${options.host}:${options.port}` === owner(),
    onTopologyChange: (listener) => topology.onChange(listener),
  };
}
