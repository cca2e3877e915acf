/** Starts a real Redis Cluster on the loopback interface, with or without replicas. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type KeptPorts, keptPorts } from './ports.ts';
import { freePort, type RedisServer, type RedisServerOptions, startRedis } from './server.ts';
import { type Tls, tlsArgs } from './tls.ts';

export interface RedisClusterOptions {
  primaries?: number;
  replicasPerPrimary?: 0 | 1 | 2;
  /** Kept afterwards: a start in it finds the same cluster, with its data and its ports. Without it: temporary ones. */
  dir?: string;
  appendOnly?: boolean;
  extraArgs?: readonly string[];
  /** The nodes speak TLS to one another, and `url` is that of the TLS ports. The tests may use the others. */
  tls?: Tls;
  /** Of each node, the primaries first, beside our own environment. */
  envOf?: (index: number) => Readonly<Record<string, string>>;
}

export interface RedisClusterNode extends RedisServer {
  /** The node's id in the cluster. */
  readonly id: string;
  /** What it was when the cluster was ready; a failover changes that. */
  readonly role: 'primary' | 'replica';
}

export interface RedisCluster {
  readonly url: string;
  readonly nodes: readonly RedisClusterNode[];
  /** Gives the slot and its keys to another primary. */
  moveSlot(slot: number, to: RedisClusterNode): Promise<void>;
  stop(): Promise<void>;
}

const SLOTS = 16_384;
const FORM_TIMEOUT_MS = 60_000;

export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const primaries = options.primaries ?? 3;
  const total = primaries * (1 + (options.replicasPerPrimary ?? 0));
  const kept = options.dir === undefined ? undefined : await keptPorts(options.dir, total * 2);
  const ports = await Promise.all(Array.from({ length: total }, () => freePort()));
  const servers = kept
    ? await startKept(options, kept, total)
    : await Promise.all(ports.map((port, i) => startNode(options, i, port)));
  const clients = servers.map((server) => new Redis({ host: server.host, port: server.port, maxRetriesPerRequest: 1 }));
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    if (!kept?.before) await form(clients, servers, primaries, options.tls && ports);
    await untilReady(clients);
    kept?.keep();
    const nodes = await Promise.all(servers.map((server, index) => nodeOf(server, clients[index]!)));
    const at = servers.map(({ host, port }, i) => `${host}:${options.tls ? ports[i] : port}`).join(',');
    const url = options.tls ? `rediss+cluster://${at}?ca=${options.tls.caFile}` : `redis+cluster://${at}`;
    return { url, nodes, moveSlot: (slot, to) => moveSlot(nodes, slot, to), stop };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    for (const client of clients) client.disconnect();
  }
}

/** Where a node with a kept folder listens. */
interface Place {
  dir: string;
  port: number;
  busPort: number;
}

async function startNode(
  options: RedisClusterOptions,
  index: number,
  tlsPort: number,
  place?: Place,
): Promise<RedisServer> {
  const server: RedisServerOptions = {
    ...(place ? { dir: place.dir, port: place.port } : {}),
    appendOnly: options.appendOnly ?? true,
    extraArgs: [
      ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000', '--cluster-replica-validity-factor', '0'],
      // A primary that is away with its replicas must not take the others with it.
      ...['--cluster-require-full-coverage', 'no'],
      // The default bus port (port + 10,000) is beyond 65,535 for most free ports.
      ...['--cluster-port', String(place?.busPort ?? (await freePort())), '--repl-diskless-sync-delay', '0'],
      ...(options.tls ? [...tlsArgs(options.tls, tlsPort), '--tls-cluster', 'yes', '--tls-replication', 'yes'] : []),
      ...(options.extraArgs ?? []),
    ],
    ...(options.envOf ? { env: options.envOf(index) } : {}),
  };
  return startRedis(server);
}

/**
 * The nodes of a kept folder. Those that were primaries are started, and have read their files, before any replica is
 * there that could take a primary which is slow to read for a dead one.
 */
async function startKept(options: RedisClusterOptions, kept: KeptPorts, total: number): Promise<RedisServer[]> {
  const nodes = Array.from({ length: total }, (_, i) => {
    const place = { dir: join(options.dir!, `node-${i + 1}`), port: kept.now[i]!, busPort: kept.now[total + i]! };
    return { place, wasPrimary: rewriteNodesFile(join(place.dir, 'nodes.conf'), kept) };
  });
  const started = new Map<Place, RedisServer>();
  try {
    for (const first of [true, false]) {
      const some = nodes.filter(({ wasPrimary }) => wasPrimary === first);
      await Promise.all(
        some.map(async ({ place }) =>
          started.set(
            place,
            await startNode(
              options,
              nodes.findIndex((node) => node.place === place),
              0,
              place,
            ),
          ),
        ),
      );
    }
  } catch (error) {
    await Promise.all([...started.values()].map((server) => server.stop()));
    throw error;
  }
  return nodes.map(({ place }) => started.get(place)!);
}

/** What a node knows of the others, with the ports that they have now. Answers whether it was a primary. */
function rewriteNodesFile(file: string, { before, now }: KeptPorts): boolean {
  // The last start ended before the cluster was formed.
  if (!before) rmSync(file, { force: true });
  if (!existsSync(file)) return true;
  const known = readFileSync(file, 'utf8');
  const moved = (port: string) => now[before!.indexOf(Number(port))] ?? port;
  const text = known.replaceAll(/:(\d+)@(\d+)/g, (_, port, bus) => `:${moved(port)}@${moved(bus)}`);
  if (text !== known) writeFileSync(file, text);
  return /myself,master/.test(known);
}

async function nodeOf(server: RedisServer, client: Redis): Promise<RedisClusterNode> {
  const [id, info] = await Promise.all([client.cluster('MYID'), client.info('replication')]);
  const role = String(info).includes('role:master') ? 'primary' : 'replica';
  return Object.assign(server, { id: String(id), role } as const);
}

async function form(
  clients: Redis[],
  servers: RedisServer[],
  primaries: number,
  tlsPorts?: readonly number[],
): Promise<void> {
  const ids = await Promise.all(clients.map((client) => client.cluster('MYID')));
  for (const [index, client] of clients.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    if (index < primaries) {
      const first = Math.floor((index * SLOTS) / primaries);
      const last = Math.floor(((index + 1) * SLOTS) / primaries) - 1;
      await client.call('CLUSTER', 'ADDSLOTSRANGE', first, last);
    }
  }
  // Everyone meets everyone: waiting for the gossip would take seconds longer.
  const ports = await Promise.all(clients.map(async (client) => configOf(client, 'cluster-port')));
  for (const client of clients) {
    for (const [index, server] of servers.entries()) {
      const port = tlsPorts?.[index] ?? server.port;
      if (client !== clients[index]) await client.call('CLUSTER', 'MEET', server.host, port, ports[index]!);
    }
  }
  await until('the nodes know each other', async () => {
    const known = await Promise.all(clients.map((client) => client.cluster('INFO')));
    return known.every((info) => new RegExp(`cluster_known_nodes:${servers.length}\\r`).test(String(info)));
  });
  for (const [index, client] of clients.entries()) {
    if (index >= primaries) {
      await until('the replica knows its primary', async () => {
        const answer = await client.call('CLUSTER', 'REPLICATE', String(ids[index % primaries])).catch(() => undefined);
        return answer === 'OK';
      });
    }
  }
}

/** Every slot is served, and every replica follows its primary. */
function untilReady(clients: Redis[]): Promise<void> {
  return until('the cluster is ready', async () => {
    const states = await Promise.all(
      clients.map(async (client) => {
        const info = String(await client.info('replication'));
        const covered = String(await client.cluster('INFO')).includes('cluster_state:ok');
        return covered && (info.includes('role:master') || info.includes('master_link_status:up'));
      }),
    );
    return states.every(Boolean);
  });
}

async function moveSlot(nodes: readonly RedisClusterNode[], slot: number, to: RedisClusterNode): Promise<void> {
  const all = nodes.map((node) => new Redis({ host: node.host, port: node.port, maxRetriesPerRequest: 1 }));
  const of = ({ id }: { id: string }) => all[nodes.findIndex((node) => node.id === id)]!;
  try {
    const ranges = (await of(to).call('CLUSTER', 'SLOTS')) as [number, number, [string, number, string]][];
    const owner = ranges.find(([first, last]) => first <= slot && slot <= last)?.[2][2];
    if (owner === undefined || owner === to.id) return;
    const from = of({ id: owner });
    await of(to).cluster('SETSLOT', slot, 'IMPORTING', owner);
    await from.cluster('SETSLOT', slot, 'MIGRATING', to.id);
    // Keys may be made until the last moment, in either.
    for (;;) {
      const keys = (await from.cluster('GETKEYSINSLOT', slot, 100)) as string[];
      if (keys.length === 0) break;
      await from.migrate(to.host, to.port, '', 0, 5000, 'REPLACE', 'KEYS', ...keys);
    }
    // The new owner first: nobody is sent to one that does not know yet.
    for (const client of [of(to), from]) await client.cluster('SETSLOT', slot, 'NODE', to.id);
  } finally {
    for (const client of all) client.disconnect();
  }
}

async function configOf(client: Redis, name: string): Promise<string> {
  const reply = await client.config('GET', name);
  return String((reply as string[])[1]);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + FORM_TIMEOUT_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`the Redis cluster did not form in time: waiting until ${what}`);
    await sleep(50);
  }
}
