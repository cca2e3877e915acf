/**
 * Connections to Redis: standalone, through Sentinel, or a cluster, from one URL.
 *
 * What a caller may rely on: a command is answered or fails within a bounded time; it is never executed twice behind
 * the caller's back, nor after a later one of the same caller. So nothing that was in flight when a connection broke is
 * sent again (the caller decides, see `isRetryable`), while what provably was not executed (MOVED, ASK, TRYAGAIN,
 * CLUSTERDOWN) is.
 */
import { connect as tlsConnect } from 'node:tls';
import { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { BlockingConnection } from './blocking.ts';
import { WatchedConnection } from './blocking.ts';
import { clusterDialer, clusterSubscriptions, type Settings, singleDialer, singleSubscriptions } from './dialers.ts';
import { StartupError } from './errors.ts';
import { ScriptLane } from './script-lane.ts';
import { Subscriber, type SubscriberEvents } from './subscriber.ts';
import type { SubscriptionServers } from './subscription-link.ts';
import { followSwitches } from './switches.ts';
import { paceLooks, Topology } from './topology.ts';
import { parseRedisUrl, type RedisTarget } from './url.ts';

export interface RedisStore {
  readonly kind: 'standalone' | 'sentinel' | 'cluster';
  /** The URL without its password. */
  readonly address: string;
  /** Commands of one tick go out in one pipeline by themselves. Only typed methods: `call` may answer in other shapes. */
  readonly command: Redis | Cluster;
  /** Partitions that one command may read: all in one group unless a cluster, then each alone. */
  groups(partitions: readonly number[]): number[][];
  /** A connection of its own, for blocking reads, to the server that has the partition. */
  blocking(partition: number, partitions: number): Promise<BlockingConnection>;
  /** A connection of its own for scripts, to the server that has the partition; made when something is called. */
  lane(partition: number, partitions: number, replicas: number): ScriptLane;
  /** Sharded Pub/Sub; connections are made when something is subscribed. */
  subscriber(events: SubscriberEvents): Subscriber;
  /** Called when slots went to other servers, or after the connection to the only one was made anew. */
  onTopologyChange(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface ConnectOptions {
  logger: Logger;
  /** Shown by CLIENT LIST. */
  name: string;
  /** How long to wait for a server that does not answer yet; 10 s by default. */
  timeoutMs?: number;
}

/** A reply later than this means a dead or frozen server. A slow fsync of the append-only file can take 2 s. */
const SOCKET_TIMEOUT_MS = 5000;
const CONNECT_TIMEOUT_MS = 3000;
/** A server that was left, because another has its place, ends the connection at once, or stands still: not waited for. */
const DISCONNECT_TIMEOUT_MS = 200;

/** Resolves when commands can be sent; otherwise rejects with a StartupError that says what is wrong and what to do. */
export async function connect(url: string, options: ConnectOptions): Promise<RedisStore> {
  const target = parseRedisUrl(url);
  return target.kind === 'cluster' ? connectCluster(target, options) : connectSingle(target, options);
}

function commonOptions(target: RedisTarget, name: string): Settings {
  return {
    ...(target.username === undefined ? {} : { username: target.username }),
    ...(target.password === undefined ? {} : { password: target.password }),
    ...tlsOf(target),
    connectionName: name.replaceAll(/\s/g, '-'),
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    keepAlive: 10_000,
    // Together: a broken connection fails all that was in flight, and all that came since, at once and in order.
    // (Without the 0, commands in flight are sent again, or, when that is switched off, never settle.)
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    lazyConnect: true,
  };
}

/** Sentinels, and what they name, alike. */
function tlsOf({ tls, ca }: RedisTarget): Settings {
  if (!tls) return {};
  const trust = ca === undefined ? {} : { ca };
  return { tls: trust, sentinelTLS: trust, enableTLSForSentinelMode: true };
}

/**
 * 50 ms to half a second, doubled each time, with jitter so that a restarted server is not met by everybody at once. Not
 * longer: a replica that is promoted is found with the next attempt, and everybody waits for that.
 */
function backoffMs(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt - 1, 10), 500) * (0.5 + Math.random() / 2);
}

async function connectSingle(target: RedisTarget, options: ConnectOptions): Promise<RedisStore> {
  const [node] = target.nodes;
  const settings: Settings = {
    ...commonOptions(target, options.name),
    db: target.db,
    ...(target.kind === 'sentinel'
      ? {
          sentinels: target.nodes,
          name: target.name!,
          // Without a delay here ioredis gives up for ever once all Sentinels were asked in vain.
          sentinelRetryStrategy: backoffMs,
          sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
        }
      : node),
  };
  const redis = new Redis({
    ...settings,
    enableAutoPipelining: true,
    retryStrategy: backoffMs,
    // A primary that became a replica: find the new one. The command fails; the caller repeats it.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  const topology = new Topology(redis);
  logErrors(redis, target, options.logger);
  await untilReady(redis, target, options);
  try {
    const info = String(await redis.info('cluster'));
    if (info.includes('cluster_enabled:1')) {
      throw new StartupError(
        `${target.shown} is a node of a Redis cluster: set REDIS_URL to redis+cluster://host:port,…`,
      );
    }
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  // As long as no Sentinel names a reachable primary: each round over them fails the commands that came since the last.
  redis.on('error', (error) => {
    if (error.message.startsWith('All sentinels are unreachable')) failQueued(redis);
  });
  topology.start();
  const unfollow = target.kind === 'sentinel' ? followSwitches(redis, target, settings) : undefined;
  const dial = () => new WatchedConnection(singleDialer(redis, settings, topology));
  return store(target, redis, topology, singleSubscriptions(redis, settings, topology), dial, unfollow);
}

async function connectCluster(target: RedisTarget, options: ConnectOptions): Promise<RedisStore> {
  const { lazyConnect: _, ...settings } = commonOptions(target, options.name);
  const cluster = new Cluster(target.nodes, {
    redisOptions: settings,
    enableAutoPipelining: true,
    clusterRetryStrategy: backoffMs,
    slotsRefreshInterval: 2000,
    slotsRefreshTimeout: 1000,
    maxRedirections: 32,
    retryDelayOnMoved: 50,
    retryDelayOnTryAgain: 100,
    retryDelayOnClusterDown: 200,
    // 0 = a command whose connection broke is not sent again: it may have been executed, and later ones would overtake.
    retryDelayOnFailover: 0,
    lazyConnect: true,
    // Certificates carry names, not addresses.
    ...(target.tls ? { dnsLookup: (host, done) => done(null, host) } : {}),
  });
  paceLooks(cluster);
  const topology = new Topology(cluster);
  logErrors(cluster, target, options.logger);
  await untilReady(cluster, target, options);
  // Each failed attempt to reach any node fails the commands that came since the last.
  cluster.on('reconnecting', () => failQueued(cluster));
  topology.start();
  return store(
    target,
    cluster,
    topology,
    clusterSubscriptions(cluster, settings, topology),
    (partition, partitions) => {
      return new WatchedConnection(clusterDialer(cluster, settings, topology, partition, partitions));
    },
  );
}

/** While it connects, ioredis keeps commands in a queue without a bound; only its own code can empty that. */
function failQueued(client: Redis | Cluster): void {
  (client as unknown as { flushQueue(error: Error): void }).flushQueue(new Error('Connection is closed.'));
}

function store(
  target: RedisTarget,
  command: Redis | Cluster,
  topology: Topology,
  subscriptions: SubscriptionServers,
  dial: (partition: number, partitions: number) => WatchedConnection,
  unfollow?: () => void,
): RedisStore {
  const open = new Set<{ close(): void }>();
  let closing = false;
  const reopen = (): void => {
    if (!closing) command.connect().catch(() => undefined); // that it failed is told by another `end`
  };
  // Disconnected just while it asks a Sentinel for the primary, ioredis 6 gives up for ever.
  command.on('end', () => setTimeout(reopen, backoffMs(1)));
  return {
    kind: target.kind,
    address: target.shown,
    command,
    groups: (partitions) => {
      if (target.kind === 'cluster') return partitions.map((p) => [p]);
      return partitions.length === 0 ? [] : [[...partitions]];
    },
    async blocking(partition, partitions) {
      const connection = dial(partition, partitions);
      open.add(connection);
      // Unreachable at this moment: the first read says so, and the one after it tries again.
      await connection.open().catch(() => undefined);
      return connection;
    },
    lane(partition, partitions, replicas) {
      const connection = dial(partition, partitions);
      open.add(connection);
      return new ScriptLane(connection, replicas);
    },
    subscriber(events) {
      const subscriber = new Subscriber(subscriptions, events);
      open.add(subscriber);
      return subscriber;
    },
    onTopologyChange: (listener) => topology.onChange(listener),
    async close() {
      closing = true;
      unfollow?.();
      topology.stop();
      for (const connection of open) connection.close();
      const gone = new Promise<void>((done) => command.once('end', () => done()));
      if (command.status === 'end') return;
      command.disconnect();
      await Promise.race([gone, new Promise((done) => setTimeout(done, 1000).unref())]);
    },
  };
}

/** Errors that time does not heal. */
const HOPELESS =
  /NOAUTH|WRONGPASS|NOPERM|invalid password|cluster support disabled|self.signed|certificate|wrong version number|SSL routines/i;

function untilReady(client: Redis | Cluster, target: RedisTarget, options: ConnectOptions): Promise<void> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  return new Promise((done, fail) => {
    let last: Error | undefined;
    let asked = false;
    const failed = (error: Error & { lastNodeError?: Error }): void => {
      last = error.lastNodeError ?? error;
      if (HOPELESS.test(last.message)) finish(explain(target, last));
      else if (target.tls && !asked) {
        // Of a handshake with a Sentinel or a cluster's node ioredis says only that the connection was closed.
        asked = true;
        for (const node of target.nodes) {
          void handshakeFault(node, target).then((fault) => {
            if (fault && HOPELESS.test(fault.message)) finish(explain(target, fault));
          });
        }
      }
    };
    const finish = (error?: StartupError): void => {
      clearTimeout(timer);
      client.off('ready', ready);
      for (const event of ['error', 'node error', 'sentinelError']) client.off(event, failed);
      if (error) {
        client.disconnect();
        fail(error);
      } else {
        done();
      }
    };
    const ready = (): void => finish();
    const timer = setTimeout(() => finish(explain(target, last, timeoutMs)), timeoutMs);
    client.once('ready', ready);
    for (const event of ['error', 'node error', 'sentinelError']) client.on(event, failed);
    client.connect().catch(failed);
  });
}

/** What a TLS handshake with this node fails of; undefined: it does not, or nobody answers. */
function handshakeFault(node: { host: string; port: number }, target: RedisTarget): Promise<Error | undefined> {
  return new Promise((done) => {
    const socket = tlsConnect({ ...node, ...(target.ca === undefined ? {} : { ca: target.ca }) });
    const end = (fault?: Error): void => {
      socket.destroy();
      done(fault);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, end);
    socket.once('secureConnect', () => end());
    socket.once('error', end);
  });
}

function explain(target: RedisTarget, error: Error | undefined, timeoutMs?: number): StartupError {
  const cause = error?.message ?? 'no answer';
  const within = timeoutMs === undefined ? '' : ` within ${timeoutMs / 1000} s`;
  return new StartupError(`no connection to Redis at ${target.shown}${within}: ${cause}. ${advice(target, cause)}`, {
    cause: error,
  });
}

function advice(target: RedisTarget, cause: string): string {
  if (/NOAUTH|WRONGPASS|invalid password/i.test(cause)) return 'Put the right user:password@ into REDIS_URL.';
  if (/NOPERM/.test(cause)) return 'Give this Redis user the rights for all commands and keys (ACL SETUSER).';
  if (/cluster support disabled/.test(cause))
    return 'This server is not a cluster: set REDIS_URL to redis://host:port.';
  if (/certificate|self.signed/i.test(cause))
    return 'Trust its authority: ?ca=<file> at the end of REDIS_URL, or NODE_EXTRA_CA_CERTS=<file>.';
  if (/wrong version number|SSL routines/i.test(cause))
    return 'It does not speak TLS: use redis:// without the second s.';
  if (target.kind === 'sentinel') return 'Check the Sentinels in REDIS_URL and the name of the primary.';
  return 'Start Redis there, or set REDIS_URL to where it is.';
}

const LOG_EVERY_MS = 5000;

/** An outage makes many equal errors: one line every five seconds, with how many there were. */
function logErrors(client: Redis | Cluster, target: RedisTarget, logger: Logger): void {
  let lastAt = -LOG_EVERY_MS;
  let unlogged = 0;
  const log = (error: Error, node?: string): void => {
    unlogged++;
    if (performance.now() - lastAt < LOG_EVERY_MS) return;
    lastAt = performance.now();
    logger.warn({ redis: target.shown, node, reason: error.message, errors: unlogged }, 'Redis connection trouble');
    unlogged = 0;
  };
  for (const event of ['error', 'node error', 'sentinelError']) client.on(event, log);
}
