/** A Redis of its own, processes, and people on them: what the tests of one promise each share. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type ChannelEvent, MillraceClient } from '../../lib/client/index.ts';
import { type Keyspace, keyspace } from '../../lib/keyspace/index.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';

export const PARTITIONS = 16;
export const keys: Keyspace = keyspace(PARTITIONS);

export interface InboxEntry {
  offset: string;
  channel: string;
  seq: number;
  id: string;
  type: string;
}

export class World {
  readonly redis: Redis;
  readonly verbs: Verbs;
  readonly deployment: Deployment;
  readonly #servers: [RedisServer, ...RedisServer[]];
  readonly #folder: string;
  readonly #clients: MillraceClient[] = [];

  private constructor(server: RedisServer, folder: string) {
    this.#servers = [server];
    this.#folder = folder;
    this.redis = new Redis(server.url);
    this.verbs = new Verbs(this.redis, keys);
    this.deployment = this.deploymentBehind(server.url);
  }

  static async start(): Promise<World> {
    return new World(await startRedis(), mkdtempSync(join(tmpdir(), 'millrace-chaos-')));
  }

  get server(): RedisServer {
    return this.#servers[0];
  }

  /** Kills Redis, and starts it again on the same port from its append-only file. */
  async restartRedis(awayMs: number): Promise<void> {
    const { dir, port } = this.server;
    this.server.kill('SIGKILL');
    await sleep(awayMs);
    this.#servers.unshift(await startRedis({ dir, port }));
  }

  /** Processes that reach the same Redis another way: through a proxy. The caller stops it. */
  deploymentBehind(redisUrl: string): Deployment {
    return new Deployment({
      redisUrl,
      archiveUrl: `sqlite:${join(this.#folder, 'archive.sqlite')}`,
      env: { PARTITIONS: String(PARTITIONS) },
    });
  }

  client(gateway: MillraceProcess, user: string, device = 'phone', since?: string): MillraceClient {
    const client = new MillraceClient({
      url: gateway.address,
      token: this.deployment.token(user),
      device,
      reconnectBaseMs: 100,
      reconnectCapMs: 500,
      ...(since === undefined ? {} : { since }),
    });
    this.#clients.push(client);
    return client;
  }

  /** What a client shows, from before it connects; `events` are in the order shown. */
  watch(client: MillraceClient): ChannelEvent[] {
    const events: ChannelEvent[] = [];
    client.on('event', (event) => void events.push(event));
    return events;
  }

  /** A device that never acks: from now on nothing is trimmed from the inbox, so that all of it can be compared. */
  async keepInbox(user: string): Promise<void> {
    await this.verbs.attach({ user, device: 'witness', session: 'none', gateway: 'nobody', maxSessions: 8 });
  }

  async inbox(user: string): Promise<InboxEntry[]> {
    const entries = await this.redis.xrange(keys.inbox(user), '-', '+');
    return entries.map(([offset, fields]) => {
      const at = (name: string) => fields[fields.indexOf(name) + 1] ?? '';
      return { offset, channel: at('channel'), seq: Number(at('seq')), id: at('id'), type: at('type') };
    });
  }

  /** Which worker has each partition for a role; null where nobody has. */
  async holders(role: 'fanout' | 'archiver'): Promise<(string | null)[]> {
    return this.redis.mget(...Array.from({ length: PARTITIONS }, (_, p) => keys.lease(p, role)));
  }

  /** How many partitions the process has for fan-out. A worker's name carries its process id. */
  async holdings(process: MillraceProcess): Promise<number> {
    const holders = await this.holders('fanout');
    return holders.filter((worker) => worker?.includes(`-${process.pid}-`)).length;
  }

  /** The process has all of them, or its part. */
  async holds(process: MillraceProcess, count: number, withinMs = 15_000): Promise<void> {
    await until(
      `process ${process.pid} has ${count} partitions`,
      withinMs,
      () => this.holdings(process),
      (n) => n === count,
    );
  }

  /** The keys as they are now; calling the result puts them back so: what a failover to an old replica does. */
  async snapshot(names: readonly string[]): Promise<() => Promise<void>> {
    const dumps = await Promise.all(names.map((name) => this.redis.dumpBuffer(name)));
    const ttls = await Promise.all(names.map((name) => this.redis.pttl(name)));
    return async () => {
      const multi = this.redis.multi();
      names.forEach((name, i) => {
        const dump = dumps[i];
        if (dump) multi.restore(name, Math.max(0, ttls[i] ?? 0), dump, 'REPLACE');
        else multi.del(name);
      });
      await multi.exec();
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close({ timeoutMs: 1 })));
    await this.deployment.stop();
    this.redis.disconnect();
    for (const server of this.#servers) await server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** 1 … last. */
export const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

export const seqsOf = (events: readonly { channel: string; seq: number }[], channel: string): number[] =>
  // Receipts stand in the inbox too, and have no seq.
  events.filter((event) => event.channel === channel && event.seq > 0).map((event) => event.seq);
