/**
 * One process of Millrace, whatever its roles: its connections are made once and shared, its roles start behind them,
 * and everything ends in the opposite order. `apps/*` start alone through `startAlone`, the command line starts several
 * through `runRoles`.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import fastify, { type FastifyBaseLogger } from 'fastify';
import { type Archive, openArchive } from '../archive/index.ts';
import type { AppContext, RunningApp } from '../config/context.ts';
import { type Config, loadConfig, withoutPassword } from '../config/index.ts';
import { checkDeployment } from '../redis/checks.ts';
import { connect } from '../redis/connect.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { registerProbes } from '../telemetry/probes.ts';
import { exitCodeOf, explain } from './explain.ts';
import { listenError } from './port-owner.ts';
import { readinessOf } from './readiness.ts';

/** In the order in which they start: who takes work in comes last, and stops first. */
export const roles = ['archiver', 'fanout', 'presence', 'pusher', 'gateway'] as const;
export type Role = (typeof roles)[number];

/** How a role starts; the gateway also says where it listens (`http://127.0.0.1:8080`). */
export type StartApp = (context: AppContext) => Promise<RunningApp & { address?: string }>;

export interface RunningProcess {
  /** Where /healthz, and with the gateway everything else, answers. */
  readonly address: string;
  readonly incarnation: string;
  readonly archive: Archive;
  /** Never rejects; what could not be stopped cleanly is logged. Aborting `hurry` ends what waits for clients. */
  stop(hurry?: AbortSignal): Promise<void>;
}

export interface RunOptions {
  config: Config;
  /** The roles of this process and how each starts. */
  apps: Partial<Record<Role, StartApp>>;
  /** Called once the archive is open, before any role starts: a development start applies the schema here. */
  beforeRoles?: (archive: Archive, logger: Logger) => Promise<void>;
}

export async function runRoles(options: RunOptions): Promise<RunningProcess> {
  const { config, apps } = options;
  const mine = roles.filter((role) => apps[role]);
  const name = mine.length === 1 && mine[0] ? mine[0] : 'millrace';
  const logger = createLogger({ name, level: config.logLevel });
  const incarnation = `${hostname()
    .replace(/[^A-Za-z0-9_.-]/g, '-')
    .slice(0, 24)}-${process.pid}-${randomBytes(3).toString('hex')}`;

  // What is open so far, newest last: stopped from the end, also when a later part fails to start.
  const open: { what: string; stop: (hurry: AbortSignal) => unknown }[] = [];
  let stopping = false;
  const stop = async (hurry = new AbortController().signal): Promise<void> => {
    stopping = true;
    for (let part = open.pop(); part; part = open.pop()) {
      try {
        await part.stop(hurry);
      } catch (error) {
        logger.error({ err: error }, `${part.what} did not stop cleanly`);
      }
    }
  };

  try {
    const metrics = createMetrics();
    open.push({ what: 'metrics', stop: () => metrics.stop() });
    const store = await connect(config.redisUrl, { logger, name: `millrace-${name}` });
    open.push({ what: 'Redis', stop: () => store.close() });
    const { partitions, production, ackReplicas } = config;
    await checkDeployment(store, { partitions, production, ackReplicas, logger });
    const archive = await openArchive(config.archiveUrl, { logger });
    open.push({ what: 'archive', stop: () => archive.close() });
    await options.beforeRoles?.(archive, logger);

    const context: AppContext = { config, store, archive, logger, metrics, incarnation };
    let address: string | undefined;
    for (const role of mine) {
      const app = await (apps[role] as StartApp)(context);
      open.push({ what: role, stop: (hurry) => app.stop(hurry) });
      address ??= app.address;
    }
    if (address === undefined) {
      const probes = await serveProbes(context, mine, () => stopping);
      open.push({ what: 'probes', stop: probes.stop });
      address = probes.address;
    }
    logger.info(
      { roles: mine, address, incarnation, redis: withoutPassword(config.redisUrl), archive: archive.kind },
      'started',
    );
    return { address, incarnation, archive, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The small server of a process that serves no clients. */
async function serveProbes(
  context: AppContext,
  mine: readonly Role[],
  stopping: () => boolean,
): Promise<{ address: string; stop(): unknown }> {
  const { config, metrics, store, archive } = context;
  const loggerInstance: FastifyBaseLogger = context.logger.child({}, { level: 'warn' });
  const app = fastify({ loggerInstance });
  registerProbes(app, {
    registry: metrics.registry,
    readiness: async () => {
      if (stopping()) return { ready: false, parts: { process: 'stopping' } };
      return await readinessOf(store, archive);
    },
    about: { roles: mine },
  });
  try {
    const address = await app.listen({ port: config.port, host: config.host });
    return { address, stop: () => app.close() };
  } catch (error) {
    throw await listenError(error, config.host, config.port);
  }
}

/**
 * An app's own main: configuration from the environment, one role, an end on SIGINT or SIGTERM. Exit codes: 0 stopped
 * when asked to, 1 failed, 78 (EX_CONFIG) something for the operator to change first.
 */
export async function startAlone(role: Role, start: StartApp): Promise<void> {
  try {
    const config = loadConfig(process.env, { checksTokens: role === 'gateway' });
    const running = await runRoles({ config, apps: { [role]: start } });
    await stopOnSignal(config, (hurry) => running.stop(hurry));
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}

/** Beyond the grace that clients get. With the 20 s of production that is below the 30 s after which Kubernetes kills. */
const STOP_MS = 8000;
/** npm and the terminal both deliver a Ctrl-C: what comes so close together was asked once. */
const SAME_SIGNAL_MS = 250;

/**
 * Resolves never: on SIGINT, SIGTERM, or when the process that started us is gone, runs `stop` and exits with 0. A second
 * signal hurries it; a third ends the process as it is.
 */
export function stopOnSignal({ drain }: Config, stop: (hurry: AbortSignal) => Promise<void>): Promise<never> {
  const hurry = new AbortController();
  let asked = 0;
  let askedAt = Number.NEGATIVE_INFINITY;
  const ask = (): void => {
    const now = performance.now();
    if (now - askedAt < SAME_SIGNAL_MS) return;
    askedAt = now;
    asked++;
    if (asked === 2) hurry.abort();
    if (asked > 2) process.exit(130);
    if (asked > 1) return;
    const timeoutMs = drain.graceMs + STOP_MS;
    setTimeout(() => {
      process.stderr.write(`not stopped after ${timeoutMs / 1000} s: giving up\n`);
      process.exit(1);
    }, timeoutMs).unref();
    void stop(hurry.signal).finally(() => process.exit(0));
  };
  process.on('SIGINT', ask);
  process.on('SIGTERM', ask);
  process.on('SIGHUP', ask);
  // ops/bootstrap.mjs keeps a channel open to us; when it is killed outright the channel closes.
  if (process.channel) {
    process.once('disconnect', ask);
    process.channel.unref();
  }
  return new Promise(() => undefined);
}
