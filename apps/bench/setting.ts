/**
 * What is measured: two gateways, one process of fan-out and archiver on the embedded archive, a Redis with append-only
 * file, all started for one scenario, and the load generator beside them.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { endWithUs, temporaryFolder } from '../../ops/reaper.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import type { Answers, ClientSpec, DialectName, Load, LoadResult, Order, Range, Reply } from './orders.ts';
import { type Counts, countsBetween, type Probe, probe } from './probe.ts';
import { type Cost, costBetween, quiet, snapshot } from './usage.ts';

const PROBES_TO_WARM_UP = 10;

/** Another system's server: started like a gateway, told the same, and it says the same when it serves. */
export interface Peer {
  main: string;
  dialect: DialectName;
}

export interface SettingOptions {
  gateways?: number;
  /** Instead of Millrace, on the same Redis. */
  peer?: Peer;
  /** Without fan-out and archiver: what Redis is asked, gateways ask. */
  workers?: false;
  /** Where the servers leave their CPU profiles. */
  profiles?: string;
  nodeArgs?: readonly string[];
  /** The folder whose sources are started; this repository without it. */
  root?: string;
  /** How long to wait before each load for a machine that others leave alone, in seconds. */
  patienceS?: number;
}

export interface Measured {
  load: Load;
  result: LoadResult;
  cost: Cost;
  counts: Counts;
  /** Microseconds of the machine's monotonic clock: to cut the window out of a profile. */
  window: { from: number; to: number };
}

export class Setting {
  readonly redis: RedisServer;
  readonly deployment: Deployment;
  readonly gateways: MillraceProcess[] = [];
  readonly generator: Generator;
  /** Servers that ended without being asked to, with their last words. */
  readonly deaths: string[] = [];
  /** To ask Redis something. */
  readonly control: Redis;
  readonly #patienceS: number;
  #worker: MillraceProcess | undefined;
  #users = 0;
  #stopping = false;

  private constructor(redis: RedisServer, deployment: Deployment, patienceS: number) {
    this.#patienceS = patienceS;
    this.redis = redis;
    this.deployment = deployment;
    this.generator = new Generator();
    this.control = new Redis(redis.url, { lazyConnect: false });
  }

  static async start(options: SettingOptions = {}): Promise<Setting> {
    const folder = temporaryFolder('bench');
    const redis = await startRedis();
    const nodeArgs = [...(options.nodeArgs ?? [])];
    if (options.profiles) {
      mkdirSync(options.profiles, { recursive: true });
      nodeArgs.push('--cpu-prof', `--cpu-prof-dir=${options.profiles}`, '--cpu-prof-interval=500');
    }
    const deployment = new Deployment({
      redisUrl: redis.url,
      archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}`,
      env: { MILLRACE_DATA: folder },
      nodeArgs,
      ...(options.peer ? { gateway: options.peer.main } : {}),
      ...(options.root ? { root: options.root } : {}),
    });
    const setting = new Setting(redis, deployment, options.patienceS ?? 0);
    try {
      for (let i = 0; i < (options.gateways ?? 2); i++) setting.gateways.push(await deployment.start('gateway'));
      if (options.workers !== false && !options.peer) setting.#worker = await deployment.start('fanout', 'archiver');
      for (const server of deployment.processes) void server.exited.then((code) => setting.#ended(server, code));
      const addresses = setting.gateways.map((gateway) => gateway.address);
      await setting.generator.obey({ order: 'gateways', addresses, dialect: options.peer?.dialect ?? 'millrace' });
      // A process that counts for the first time stands still for a tenth of a second: not within the window.
      for (let i = 0; i < PROBES_TO_WARM_UP; i++) await setting.counts();
    } catch (error) {
      await setting.stop();
      throw error;
    }
    return setting;
  }

  get pids(): Record<string, number> {
    const pids: Record<string, number> = { redis: this.redis.pid, generator: this.generator.pid, bench: process.pid };
    this.gateways.forEach((gateway, i) => {
      pids[`gateway ${i + 1}`] = gateway.pid;
    });
    if (this.#worker) pids.workers = this.#worker.pid;
    return pids;
  }

  /** More users, spread over the gateways, each with one live session. Returns which they are. */
  async connect(count: number, atOnce = 64, gateway?: number): Promise<Range> {
    const from = this.#users;
    const clients = Array.from({ length: count }, (_, i): ClientSpec => {
      const user = this.user(from + i);
      return { user, token: this.deployment.token(user), gateway: gateway ?? (from + i) % this.gateways.length };
    });
    this.#users += count;
    await this.generator.obey({ order: 'connect', clients, atOnce });
    return [from, from + count];
  }

  user(index: number): string {
    return `user-${String(index).padStart(5, '0')}`;
  }

  async createGroup([from, to]: Range): Promise<string> {
    const members = Array.from({ length: to - from }, (_, i) => this.user(from + i));
    const response = await fetch(`${this.gateways[0]?.address}/v1/channels`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${this.deployment.token(members[0] ?? '')}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ members }),
    });
    if (!response.ok) throw new Error(`no group: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { channel: string }).channel;
  }

  async measure(load: Load, during?: () => Promise<void>): Promise<Measured> {
    await quiet(this.#patienceS);
    const { pids } = this;
    const http = [...this.gateways, ...(this.#worker ? [this.#worker] : [])].map((p) => p.address);
    let before: Promise<[Probe, ReturnType<typeof snapshot>]> | undefined;
    let after: Promise<[Probe, ReturnType<typeof snapshot>]> | undefined;
    let from = 0;
    let to = 0;
    const result = await this.generator.obey({ order: 'load', load }, (event) => {
      // The probes themselves cost CPU: outside the two snapshots.
      if (event === 'begin') {
        before = (async () => {
          const probed = await probe(this.control, http);
          from = Number(process.hrtime.bigint() / 1000n);
          return [probed, snapshot(pids)];
        })();
        if (during) void during();
      } else {
        after = (async () => {
          to = Number(process.hrtime.bigint() / 1000n);
          const taken = snapshot(pids);
          return [await probe(this.control, http), taken];
        })();
      }
    });
    if (!before || !after) throw new Error('the load had no window');
    const [[probeBefore, snapshotBefore], [probeAfter, snapshotAfter]] = await Promise.all([before, after]);
    return {
      load,
      result,
      cost: costBetween(snapshotBefore, snapshotAfter),
      counts: countsBetween(probeBefore, probeAfter),
      window: { from, to },
    };
  }

  async counts(): Promise<Probe> {
    return probe(
      this.control,
      [...this.gateways, ...(this.#worker ? [this.#worker] : [])].map((p) => p.address),
    );
  }

  /** Resolves when fan-out has nothing more to write, of what was accepted since `before`. */
  async delivered(before: Probe): Promise<void> {
    const written = (now: Probe) => now.metrics.millrace_inbox_writes_total ?? 0;
    for (let i = 0, last = -1; i < 100; i++) {
      const now = written(await this.counts()) - written(before);
      if (now > 0 && now === last) break;
      last = now;
      await sleep(1000);
    }
  }

  #ended(server: MillraceProcess, code: number | null): void {
    if (this.#stopping || code === null) return; // null: a signal, which the scenario sent
    const words = server.log.filter((line) => !line.includes('"level":30')).slice(-3);
    this.deaths.push(`${server.roles.join(' and ')} ended by itself with code ${code}:\n${words.join('\n')}`);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.generator.stop();
    this.control.disconnect();
    await this.deployment.stop();
    await this.redis.stop();
  }
}

/** The generator's process, seen from here. */
export class Generator {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    {
      resolve(answer: unknown): void;
      reject(error: Error): void;
      onEvent: ((event: 'begin' | 'end') => void) | undefined;
    }
  >();
  #next = 0;

  constructor() {
    this.#child = fork(new URL('generator.ts', import.meta.url), { serialization: 'advanced' });
    endWithUs(this.#child, 'now');
    this.#child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      if ('event' in reply) return waiting?.onEvent?.(reply.event);
      this.#waiting.delete(reply.id);
      if ('error' in reply) waiting?.reject(new Error(`the load generator: ${reply.error}`));
      else waiting?.resolve(reply.answer);
    });
    void once(this.#child, 'exit').then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the load generator ended'));
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  obey<O extends Order>(order: O, onEvent?: (event: 'begin' | 'end') => void): Promise<Answers[O['order']]> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject, onEvent });
      this.#child.send({ id, order });
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
