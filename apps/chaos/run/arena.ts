/**
 * What the faults strike: a whole deployment of real processes, its Redis and its archive, and the network in between.
 *
 *     crowd ─▶ clients, slowClients ─▶ gateways ─▶ gatewayRedis ─▶ Redis
 *                                      workers ──▶ workerRedis ──▶ Redis       (proxies of ops/proxy.ts)
 *                                      pushers ──▶ fcm
 *
 * On Sentinel and on a cluster, whose nodes say themselves where they are, processes reach Redis without a proxy.
 */
import { join } from 'node:path';
import { pino } from 'pino';
import { openArchive } from '../../../lib/archive/index.ts';
import { type Cassandra, startCassandra } from '../../../ops/cassandra/cassandra.ts';
import { Deployment, type MillraceProcess, type ProcessRole } from '../../../ops/deployment.ts';
import { FcmStandIn } from '../../../ops/fcm-stand-in.ts';
import { type ProxyTarget, TcpProxy } from '../../../ops/proxy.ts';
import { temporaryFolder } from '../../../ops/reaper.ts';
import { until } from '../../../ops/until.ts';
import type { ConnectedDevice } from '../crowd/orders.ts';
import type { Random } from '../random.ts';
import { Disk } from './disk.ts';
import { type Need, type Store, startStore, type Topology } from './store.ts';

export const ROLES = ['gateway', 'fanout', 'archiver', 'presence', 'pusher'] as const satisfies readonly ProcessRole[];
export type Role = (typeof ROLES)[number];

export const ARCHIVES = ['sqlite', 'cassandra'] as const;
export type ArchiveKind = (typeof ARCHIVES)[number];

export const PARTITIONS = 16;

export interface Earlier {
  root: string;
  commit: string;
}

/** How many mutated frames and requests one strike has. */
export interface Fuzz {
  frames: number;
  requests: number;
}
export const SHORT_FUZZ: Fuzz = { frames: 5_000, requests: 1_000 };

export type Version = 'present' | 'earlier';

export interface ArenaOptions {
  topology: Topology;
  archive: ArchiveKind;
  processesPerRole: number;
  env?: Record<string, string>;
  /** What the faults need. */
  needs?: ReadonlySet<Need>;
  /** For Node itself, in every process of the deployment. */
  nodeArgs?: readonly string[];
  /** The folder whose sources run; this repository without it. */
  root?: string;
  /** Sources of an earlier version, for a fault that runs both. */
  earlier?: Earlier;
  fuzz?: Fuzz;
  say: (line: string) => void;
  /** Told which partitions are down from now on, null: none any longer. */
  onOutage?: (partitions: readonly number[] | null) => Promise<void>;
  /** Notes what the archive has by now, lets it happen, and notes that it has. */
  onLoss?: (lose: () => Promise<unknown>) => Promise<void>;
  /** Which devices of the crowd are connected at the moment. */
  whoIsConnected?: () => Promise<readonly ConnectedDevice[]>;
}

export class Arena {
  readonly store: Store;
  cassandra: Cassandra | undefined;
  /** Under the sqlite archive, when it is needed. */
  readonly archiveDisk: Disk | undefined;
  readonly archiveUrl: string;
  readonly clients: TcpProxy;
  readonly slowClients: TcpProxy;
  /** Only on a standalone Redis. */
  readonly gatewayRedis: TcpProxy | undefined;
  readonly workerRedis: TcpProxy | undefined;
  readonly fcm: FcmStandIn;
  readonly say: (line: string) => void;
  readonly #onOutage: ArenaOptions['onOutage'];
  readonly #onLoss: ArenaOptions['onLoss'];
  readonly #whoIsConnected: ArenaOptions['whoIsConnected'];
  readonly #noticed: string[] = [];
  #stopping = false;
  readonly #running = new Map<Role, MillraceProcess[]>(ROLES.map((role) => [role, []]));
  readonly earlier: Earlier | undefined;
  readonly fuzz: Fuzz;
  readonly #gateways: Record<Version, Deployment>;
  readonly #workers: Record<Version, Deployment>;

  private constructor(
    options: ArenaOptions,
    parts: Pick<Arena, 'store' | 'cassandra' | 'archiveDisk' | 'archiveUrl' | 'gatewayRedis' | 'workerRedis'> & {
      clients: TcpProxy;
      slowClients: TcpProxy;
      fcm: FcmStandIn;
    },
  ) {
    this.store = parts.store;
    this.cassandra = parts.cassandra;
    this.archiveDisk = parts.archiveDisk;
    this.archiveUrl = parts.archiveUrl;
    this.gatewayRedis = parts.gatewayRedis;
    this.workerRedis = parts.workerRedis;
    this.clients = parts.clients;
    this.slowClients = parts.slowClients;
    this.fcm = parts.fcm;
    this.say = options.say;
    this.#onOutage = options.onOutage;
    this.#onLoss = options.onLoss;
    this.#whoIsConnected = options.whoIsConnected;
    this.earlier = options.earlier;
    this.fuzz = options.fuzz ?? SHORT_FUZZ;
    const started = (proxy: TcpProxy | undefined, from: { root?: string; nodeArgs?: readonly string[] }) =>
      new Deployment({
        redisUrl: proxy ? `redis://${proxy.address}` : this.store.url,
        archiveUrl: this.archiveUrl,
        env: { PARTITIONS: String(PARTITIONS), ...this.fcm.env, ...options.env },
        ...(from.nodeArgs ? { nodeArgs: from.nodeArgs } : {}),
        ...(from.root ? { root: from.root } : {}),
      });
    const behind = (proxy: TcpProxy | undefined): Record<Version, Deployment> => {
      const { nodeArgs = [], root = '', earlier } = options;
      return { present: started(proxy, { nodeArgs, root }), earlier: started(proxy, { root: earlier?.root ?? root }) };
    };
    this.#gateways = behind(this.gatewayRedis);
    this.#workers = behind(this.workerRedis);
  }

  static async start(options: ArenaOptions): Promise<Arena> {
    const [store, cassandra, fcm] = await Promise.all([
      startStore(options.topology, options.needs),
      options.archive === 'cassandra' ? startCassandra({ dir: temporaryFolder('cassandra') }) : undefined,
      FcmStandIn.start(),
    ]);
    const archiveDisk = !cassandra && options.needs?.has('disks') ? new Disk('archive-disk') : undefined;
    const folder = archiveDisk?.folder ?? temporaryFolder('chaos');
    let arena: Arena | undefined;
    const gateways = () => (arena?.running('gateway') ?? []).map(addressOf);
    const toRedis = () => store.servers.map(({ host, port }) => ({ host, port }));
    const proxied = options.topology === 'standalone';
    const [clients, slowClients, gatewayRedis, workerRedis] = await Promise.all([
      TcpProxy.start(gateways),
      TcpProxy.start(gateways),
      proxied ? TcpProxy.start(toRedis) : undefined,
      proxied ? TcpProxy.start(toRedis) : undefined,
    ]);
    const archiveUrl = cassandra?.url ?? `sqlite:${join(folder, 'archive.sqlite')}`;
    const proxies = { clients, slowClients, gatewayRedis, workerRedis };
    arena = new Arena(options, { store, cassandra, archiveDisk, archiveUrl, fcm, ...proxies });
    try {
      await applySchema(archiveUrl);
      for (const role of ROLES) {
        await Promise.all(Array.from({ length: options.processesPerRole }, () => arena.add(role)));
      }
      return arena;
    } catch (error) {
      await arena.stop();
      throw error;
    }
  }

  /** Living processes of a role, those that a fault has hold of excepted. */
  running(role: Role): readonly MillraceProcess[] {
    return this.#running.get(role)!;
  }

  /** Another process of the role, once it serves. */
  async add(role: Role, version: Version = 'present'): Promise<MillraceProcess> {
    const started = await (role === 'gateway' ? this.#gateways : this.#workers)[version].start(role);
    this.giveBack(role, started);
    return started;
  }

  /** One for a fault: what is tested is a process that dies, not the outage of a role, so one is always left. */
  async take(role: Role, random: Random): Promise<MillraceProcess> {
    const living = this.#running.get(role)!;
    await until(`two of ${role} live`, 30_000, () => living.length > 1);
    return living.splice(random.below(living.length), 1)[0]!;
  }

  /** This one, for a fault that sees itself that another is there. */
  takeThis(role: Role, process: MillraceProcess): MillraceProcess {
    this.#remove(role, process);
    return process;
  }

  giveBack(role: Role, process: MillraceProcess): void {
    this.#running.get(role)!.push(process);
    void process.exited.then(() => this.#ended(role, process));
  }

  /** False when it was not among the living. */
  #remove(role: Role, process: MillraceProcess): boolean {
    const living = this.#running.get(role)!;
    const at = living.indexOf(process);
    if (at >= 0) living.splice(at, 1);
    return at >= 0;
  }

  /** By itself, when no fault has hold of it: that breaks a promise. A supervisor would start another. */
  #ended(role: Role, process: MillraceProcess): void {
    if (this.#stopping || !this.#remove(role, process)) return;
    const { pid, child, log } = process;
    const how = child.signalCode ?? `exit code ${child.exitCode}`;
    this.complain([`${role} ${pid} ended by itself: ${how}`, ...log.slice(-5)].join('\n'));
    this.add(role).catch((error: unknown) => this.complain(`no other ${role} in its place: ${error}`));
  }

  /** For a fault during which those who have nothing to do with these partitions must not notice anything; null: it is over. */
  async tellOutage(partitions: readonly number[] | null): Promise<void> {
    await this.#onOutage?.(partitions);
  }

  /** For a fault by which Redis loses what is not archived. */
  async lose(lose: () => Promise<unknown>): Promise<void> {
    await this.#onLoss?.(lose);
  }

  async connected(): Promise<readonly ConnectedDevice[]> {
    return (await this.#whoIsConnected?.()) ?? [];
  }

  /** A fault saw itself that something is wrong. */
  complain(what: string): void {
    this.#noticed.push(what);
  }

  /** From its files, at its old address. */
  async reviveCassandra(): Promise<void> {
    const { dir, stop } = this.cassandra!;
    this.cassandra!.kill('SIGKILL');
    await stop();
    this.cassandra = await startCassandra({ dir });
  }

  token(user: string, options: { admin?: boolean } = {}): string {
    return this.#gateways.present.token(user, options);
  }

  get #deployments(): Deployment[] {
    return [this.#gateways, this.#workers].flatMap((versions) => Object.values(versions));
  }

  /** What the processes logged that no fault excuses, and what faults complained about. */
  complaints(): string[] {
    const logged = this.#deployments
      .flatMap(({ processes }) => [...processes])
      .flatMap((process) => process.log)
      .filter((line) => /"level":60|unhandled/i.test(line));
    return [...this.#noticed, ...logged];
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#deployments.map((deployment) => deployment.stop()));
    await Promise.all([this.clients, this.slowClients, this.gatewayRedis, this.workerRedis].map((p) => p?.close()));
    await Promise.all([this.fcm.stop(), this.store.stop(), this.cassandra?.stop()]);
    this.archiveDisk?.remove();
  }
}

async function applySchema(archiveUrl: string): Promise<void> {
  const archive = await openArchive(archiveUrl, { logger: pino({ level: 'silent' }) });
  try {
    await archive.applySchema();
  } finally {
    await archive.close();
  }
}

export function addressOf(process: MillraceProcess): ProxyTarget {
  const { hostname, port } = new URL(process.address);
  return { host: hostname, port: Number(port) };
}
