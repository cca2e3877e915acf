/**
 * Hears from each Sentinel that another server is primary now, and leaves the one that was. Each tells it for itself, the one
 * that leads a failover a second after the others: whoever has the heir by then stays. (ioredis' own detector closes the
 * connection at every message, and one that comes while the primary is being asked for ends it for good.)
 */
import { Redis } from 'ioredis';
import type { Settings } from './dialers.ts';
import type { RedisTarget } from './url.ts';

const CHANNEL = '+switch-master';

/** Returns the way to stop. */
export function followSwitches(command: Redis, { nodes, name, tls }: RedisTarget, settings: Settings): () => void {
  const sentinels = nodes.map(
    (node) =>
      new Redis({
        ...node,
        ...(tls && settings.sentinelTLS ? { tls: settings.sentinelTLS } : {}),
        connectionName: `${settings.connectionName}-switches`,
        connectTimeout: settings.connectTimeout ?? 0,
        keepAlive: settings.keepAlive ?? 0,
        enableReadyCheck: false,
        maxRetriesPerRequest: null,
      }),
  );
  for (const sentinel of sentinels) {
    sentinel.on('error', () => undefined); // that none can be reached is told by the connection to the primary
    sentinel.on('message', (_, text: string) => {
      const [of, , , host, port] = text.split(' ');
      const { status, stream } = command;
      // Before, it is finding the primary anyway.
      if (of !== name || !(status === 'ready' || status === 'connect')) return;
      if (stream.remoteAddress !== host || stream.remotePort !== Number(port)) command.disconnect(true);
    });
    sentinel.subscribe(CHANNEL).catch(() => undefined); // only when it is stopped before it is connected
  }
  return () => {
    for (const sentinel of sentinels) sentinel.disconnect();
  };
}
