/**
 * What is measured: two gateways, one process of fan-out and archiver on the embedded archive, a Redis with append-only
 * file, all started for one scenario, and the load generator beside them.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { keyspace } from '../../lib/keyspace/index.ts';
import { Deployment, type MillraceProcess, type ProcessRole } from '../../ops/deployment.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { until } from '../../ops/until.ts';
import type { ClientSpec, DialectName, Load, LoadResult, Range } from './orders.ts';
import { type Counts, countsBetween, type Probe, probe } from './probe.ts';
import { Generator } from './remote-generator.ts';
import { type Stores, type StoresOptions, startStores } from './stores.ts';
import { type Cost, costBetween, quiet, snapshot } from './usage.ts';

/** The default of what is started. */
const PARTITIONS = 16;
const PROBES_TO_WARM_UP = 10;
/** The open-file limit of a process is 20,000 in many places. */
const CROWD_OF_ONE_PROCESS = 15_000;

/** Another system's server: started like a gateway, told the same, and it says the same when it serves. */
export interface Peer {
  main: string;
  dialect: DialectName;
}

export interface SettingOptions extends StoresOptions {
  gateways?: number;
  /** Instead of Millrace, on the same Redis. */
  peer?: Peer;
  /** What one process beside the gateways does: fan-out and archiver, if nothing is said. Empty: there is none. */
  workers?: readonly ProcessRole[];
  /** Without it, the embedded archive. */
  archiveUrl?: string;
  /** Where the servers leave their CPU profiles. */
  profiles?: string;
  nodeArgs?: readonly string[];
  /** The folder whose sources are started; this repository without it. */
  root?: string;
  env?: Readonly<Record<string, string>>;
  /** Its clients never ack. */
  silent?: true;
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
  readonly redis: Stores;
  readonly deployment: Deployment;
  readonly gateways: MillraceProcess[] = [];
  readonly generator: Generator;
  /** Servers that ended without being asked to, with their last words. */
  readonly deaths: string[] = [];
  /** To ask each primary something. */
  readonly controls: readonly Redis[];
  /** Those who are only there, each with up to so many clients as one process may have files. */
  readonly #crowds: Generator[] = [];
  readonly keys = keyspace(PARTITIONS);
  readonly #patienceS: number;
  #worker: MillraceProcess | undefined;
  #users = 0;
  #stopping = false;

  private constructor(redis: Stores, deployment: Deployment, patienceS: number) {
    this.#patienceS = patienceS;
    this.redis = redis;
    this.deployment = deployment;
    this.generator = new Generator();
    this.controls = redis.primaries.map(({ url }) => new Redis(url));
    for (const control of this.controls) control.on('error', () => undefined); // what was asked fails by itself
  }

  static async start(options: SettingOptions = {}): Promise<Setting> {
    const folder = temporaryFolder('bench');
    const redis = await startStores(options);
    const nodeArgs = [...(options.nodeArgs ?? [])];
    if (options.profiles) {
      mkdirSync(options.profiles, { recursive: true });
      nodeArgs.push('--cpu-prof', `--cpu-prof-dir=${options.profiles}`, '--cpu-prof-interval=500');
    }
    const deployment = new Deployment({
      redisUrl: redis.url,
      archiveUrl: options.archiveUrl ?? `sqlite:${join(folder, 'archive.sqlite')}`,
      env: { MILLRACE_DATA: folder, ...options.env },
      nodeArgs,
      ...(options.peer ? { gateway: options.peer.main } : {}),
      ...(options.root ? { root: options.root } : {}),
    });
    const setting = new Setting(redis, deployment, options.patienceS ?? 0);
    try {
      for (let i = 0; i < (options.gateways ?? 2); i++) setting.gateways.push(await deployment.start('gateway'));
      const roles = options.peer ? [] : (options.workers ?? ['fanout', 'archiver']);
      if (roles.length > 0) setting.#worker = await deployment.start(...roles);
      for (const server of deployment.processes) void server.exited.then((code) => setting.#ended(server, code));
      const addresses = setting.gateways.map((gateway) => gateway.address);
      const dialect = options.peer?.dialect ?? 'millrace';
      await setting.generator.obey({ order: 'gateways', addresses, dialect, acks: !options.silent });
      // A process that counts for the first time stands still for a tenth of a second: not within the window.
      for (let i = 0; i < PROBES_TO_WARM_UP; i++) await setting.counts();
    } catch (error) {
      await setting.stop();
      throw error;
    }
    return setting;
  }

  /** To ask Redis something, where it is one server. */
  get control(): Redis {
    return this.controls[0]!;
  }

  get pids(): Record<string, number> {
    const pids: Record<string, number> = { generator: this.generator.pid, bench: process.pid };
    for (const [name, { pid }] of Object.entries(this.redis.servers)) pids[name] = pid;
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

  /** Resolves when Redis knows no session of theirs: what they have acked leaves their inboxes with those. */
  async leave(clients: Range): Promise<void> {
    await this.generator.obey({ order: 'leave', clients });
    const sessions = async () => {
      const asked = this.control.pipeline();
      for (let i = clients[0]; i < clients[1]; i++) asked.hlen(this.keys.sessions(this.user(i)));
      return ((await asked.exec()) ?? []).reduce((sum, [, length]) => sum + Number(length), 0);
    };
    await until('no session is left', 60_000, sessions, (left) => left === 0);
  }

  /** So many who do nothing but stay, from processes of their own. */
  async crowd(count: number): Promise<void> {
    const addresses = this.gateways.map((gateway) => gateway.address);
    for (let from = 0; from < count; from += CROWD_OF_ONE_PROCESS) {
      const generator = new Generator();
      this.#crowds.push(generator);
      await generator.obey({ order: 'gateways', addresses, dialect: 'millrace', acks: true });
      const size = Math.min(CROWD_OF_ONE_PROCESS, count - from);
      const clients = Array.from({ length: size }, (_, i): ClientSpec => {
        const user = `crowd-${this.#crowds.length}-${i}`;
        return { user, token: this.deployment.token(user), gateway: i % this.gateways.length };
      });
      await generator.obey({ order: 'connect', clients, atOnce: 64 });
    }
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
          const probed = await probe(this.controls, http);
          from = Number(process.hrtime.bigint() / 1000n);
          return [probed, snapshot(pids)];
        })();
        if (during) void during();
      } else {
        after = (async () => {
          to = Number(process.hrtime.bigint() / 1000n);
          const taken = snapshot(pids);
          return [await probe(this.controls, http), taken];
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
      this.controls,
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
    for (const generator of [this.generator, ...this.#crowds]) generator.stop();
    for (const control of this.controls) control.disconnect();
    await this.deployment.stop();
    await this.redis.stop();
  }
}
