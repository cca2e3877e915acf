/** Starts a real Redis Cluster on the loopback interface, with or without replicas. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, type RedisServerOptions, startRedis } from './server.ts';
import { type Tls, tlsArgs } from './tls.ts';

export interface RedisClusterOptions {
  primaries?: number;
  replicasPerPrimary?: 0 | 1 | 2;
  appendOnly?: boolean;
  extraArgs?: readonly string[];
  /** The nodes speak TLS to one another, and `url` is that of the TLS ports. The tests may use the others. */
  tls?: Tls;
}

export interface RedisClusterNode extends RedisServer {
  /** The node's id in the cluster. */
  readonly id: string;
  /** What it was at the start; a failover changes that. */
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
const FORM_TIMEOUT_MS = 30_000;

export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const primaries = options.primaries ?? 3;
  const total = primaries * (1 + (options.replicasPerPrimary ?? 0));
  const ports = await Promise.all(Array.from({ length: total }, () => freePort()));
  const servers = await Promise.all(ports.map((port) => startNode(options, port)));
  const clients = servers.map((server) => new Redis({ host: server.host, port: server.port, maxRetriesPerRequest: 1 }));
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    const nodes = await form(servers, clients, primaries, options.tls && ports);
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

async function startNode(options: RedisClusterOptions, tlsPort: number): Promise<RedisServer> {
  const server: RedisServerOptions = {
    appendOnly: options.appendOnly ?? true,
    extraArgs: [
      ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000', '--cluster-replica-validity-factor', '0'],
      // The default bus port (port + 10,000) is beyond 65,535 for most free ports.
      ...['--cluster-port', String(await freePort()), '--repl-diskless-sync-delay', '0'],
      ...(options.tls ? [...tlsArgs(options.tls, tlsPort), '--tls-cluster', 'yes', '--tls-replication', 'yes'] : []),
      ...(options.extraArgs ?? []),
    ],
  };
  return startRedis(server);
}

async function form(
  servers: RedisServer[],
  clients: Redis[],
  primaries: number,
  tlsPorts?: readonly number[],
): Promise<RedisClusterNode[]> {
  const nodes = await Promise.all(
    servers.map(async (server, index): Promise<RedisClusterNode> => {
      const id = String(await clients[index]!.cluster('MYID'));
      return { ...server, id, role: index < primaries ? 'primary' : 'replica' };
    }),
  );
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
    const primary = nodes[(index - primaries) % primaries];
    if (index >= primaries) {
      await until('the replica knows its primary', async () => {
        const answer = await client.call('CLUSTER', 'REPLICATE', primary!.id).catch(() => undefined);
        return answer === 'OK';
      });
    }
  }
  await until('the cluster is ready', async () => {
    const states = await Promise.all(
      clients.map(async (client, index) => {
        const covered = String(await client.cluster('INFO')).includes('cluster_state:ok');
        if (index < primaries) return covered;
        return covered && String(await client.info('replication')).includes('master_link_status:up');
      }),
    );
    return states.every(Boolean);
  });
  return nodes;
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
