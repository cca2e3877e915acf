/**
 * Several Cassandra nodes on this machine, on 127.0.0.1, 127.0.0.2 … with the same ports, as nodes of one cluster have
 * them. (Linux answers on all of 127/8; elsewhere each address needs an alias of the loopback interface.)
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'cassandra-driver';
import { temporaryFolder } from '../reaper.ts';
import { freePort } from '../redis/server.ts';
import { type Cassandra, startCassandra } from './cassandra.ts';
import { DATACENTER, type Ports } from './settings.ts';

export interface CassandraClusterOptions {
  nodes?: number;
  /** Of each node: 384 by default; resident memory is about 400 MB more. */
  heapMb?: number;
  keyspace?: string;
  progress?: (line: string) => void;
}

export interface CassandraCluster {
  /** For ARCHIVE_URL and openArchive, with every node; `millrace schema` makes as many replicas, three at most. */
  readonly url: string;
  readonly nodes: readonly Cassandra[];
  /** Starts a node again that was killed, with its data. */
  revive(index: number): Promise<void>;
  stop(): Promise<void>;
}

const SETTLE_TIMEOUT_MS = 60_000;

export async function startCassandraCluster(options: CassandraClusterOptions = {}): Promise<CassandraCluster> {
  const { nodes: count = 3, heapMb = 384, keyspace = 'millrace' } = options;
  const dir = temporaryFolder('cassandra-cluster');
  const hosts = Array.from({ length: count }, (_, i) => `127.0.0.${i + 1}`);
  const ports = await freePorts(hosts);
  const start = (index: number): Promise<Cassandra> => {
    const token = (2n ** 64n / BigInt(count)) * BigInt(index) - 2n ** 63n;
    const member = { host: hosts[index]!, seeds: hosts, token: String(token), ports };
    const { progress } = options;
    const folder = join(dir, `node-${index + 1}`);
    return startCassandra({ dir: folder, heapMb, keyspace, member, ...(progress ? { progress } : {}) });
  };
  const nodes: Cassandra[] = [];
  const stop = async (): Promise<void> => {
    // The folder is temporary: nothing need be flushed.
    for (const node of nodes) node.kill('SIGKILL');
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    // One after the other: a node that joins asks those that are there for the schema.
    for (let index = 0; index < count; index++) nodes.push(await start(index));
    for (const node of nodes) await untilItKnows(node, count);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: `cassandra://${nodes.map(({ contactPoint }) => contactPoint).join(',')}/${keyspace}?dc=${DATACENTER}`,
    nodes,
    async revive(index) {
      nodes[index]?.kill('SIGKILL');
      await nodes[index]?.stop();
      nodes[index] = await start(index);
      await untilItKnows(nodes[index], count);
    },
    stop,
  };
}

/** The node lists all the others: from then on its clients find them too. */
async function untilItKnows({ contactPoint }: Cassandra, count: number): Promise<void> {
  const client = new Client({ contactPoints: [contactPoint], localDataCenter: DATACENTER });
  const deadline = Date.now() + SETTLE_TIMEOUT_MS;
  try {
    for (;;) {
      await client.connect();
      const { rows } = await client.execute('SELECT peer, rpc_address FROM system.peers');
      if (rows.filter((row) => row.get('rpc_address') !== null).length === count - 1) return;
      if (Date.now() > deadline) throw new Error(`the Cassandra node ${contactPoint} did not find the others in time`);
      await sleep(200);
    }
  } finally {
    await client.shutdown();
  }
}

/** Three ports that are free on every address. */
async function freePorts(hosts: readonly string[]): Promise<Ports> {
  const found: number[] = [];
  while (found.length < 3) {
    const port = await freePort();
    const free = await Promise.all(hosts.map((host) => isFree(host, port)));
    if (free.every(Boolean) && !found.includes(port)) found.push(port);
  }
  const [native = 0, storage = 0, sslStorage = 0] = found;
  return { native, storage, sslStorage };
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(port, host, () => server.close(() => done(true)));
  });
}
