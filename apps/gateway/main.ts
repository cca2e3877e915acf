/** The gateway as a process: WebSocket sessions and the HTTP API. */
import type { AddressInfo } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { createVerifier } from '../../lib/auth/index.ts';
import type { AppContext, RunningApp } from '../../lib/config/context.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { listenError } from '../../lib/process/port-owner.ts';
import { startAlone } from '../../lib/process/run.ts';
import { Rebuilder } from '../../lib/rebuild/index.ts';
import { AccountVerbs } from '../../lib/redis/account-verbs.ts';
import { ChangeVerbs } from '../../lib/redis/change-verbs.ts';
import { LimitVerbs } from '../../lib/redis/limit-verbs.ts';
import { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import { PushVerbs } from '../../lib/redis/push-verbs.ts';
import { ScriptLanes } from '../../lib/redis/script-lane.ts';
import type { ScriptObserver } from '../../lib/redis/scripts.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { PacedLog } from '../../lib/telemetry/paced-log.ts';
import { Appends } from './appends.ts';
import { beginPartitions } from './begin.ts';
import type { GatewayContext } from './context.ts';
import { Hub } from './hub.ts';
import { SpeedLimits } from './limits.ts';
import { LogRoom } from './log-room.ts';
import { RareLimits } from './rare.ts';
import { buildServer } from './server.ts';
import { followTls, readTls } from './tls.ts';

/** How long requests in flight may take once everything else is done. */
const LAST_REQUESTS_MS = 3000;
/** Connections that the kernel holds until they are accepted; who finds no room tries again only after a second, then three. */
const BACKLOG = 4096;

export interface RunningGateway extends RunningApp {
  /** `http://host:port`, or https. */
  readonly address: string;
}

export async function startGateway(app: AppContext): Promise<RunningGateway> {
  const { config, store, metrics } = app;
  const tls = config.tls && (await readTls(config.tls));
  const keys = keyspace(config.partitions, { oneNode: store.kind !== 'cluster' });
  const observe: ScriptObserver = (name, seconds) => metrics.redisSeconds.of(name).observe(seconds);
  const lanes = new ScriptLanes(store, keys, config.ackReplicas);
  const verbs = new Verbs(store.command, keys, observe, lanes);
  const logger = app.logger.child({ role: 'gateway' });
  const ctx: GatewayContext = {
    ...app,
    logger,
    refusals: new PacedLog(logger),
    keys,
    verbs,
    push: new PushVerbs(store.command, keys, observe),
    presence: new PresenceVerbs(store.command, keys, observe),
    appends: new Appends({ store, keys, verbs }),
    rebuild: new Rebuilder({ store, keys, archive: app.archive, metrics, logger: app.logger }),
    limits: new SpeedLimits(config),
    logRoom: new LogRoom({ store, keys, config, metrics }),
    rare: new RareLimits(new LimitVerbs(store.command, keys, observe), config, app.logger),
    changes: new ChangeVerbs(store.command, keys, observe, lanes),
    lanes,
    accounts: new AccountVerbs(store.command, keys, observe),
    verifier: createVerifier({
      ...(config.jwtSecret === undefined ? {} : { secret: config.jwtSecret }),
      ...(config.jwtPublicKey === undefined ? {} : { publicKey: config.jwtPublicKey }),
      ...(config.jwtJwksUrl === undefined ? {} : { jwksUrl: config.jwtJwksUrl }),
      logger: app.logger,
      onFetch: (result) => metrics.keyFetches.of(result).inc(),
      ...(config.jwtIssuer === undefined ? {} : { issuer: config.jwtIssuer }),
      ...(config.jwtAudience === undefined ? {} : { audience: config.jwtAudience }),
    }),
  };
  const stopBeginning = await beginPartitions(ctx);
  const hub = new Hub(ctx);
  const { server, stopClock } = await buildServer(ctx, hub, undefined, tls);
  try {
    await server.listen({ port: config.port, host: config.host, backlog: BACKLOG });
  } catch (error) {
    stopClock();
    stopBeginning();
    ctx.verifier.close();
    await hub.stop();
    throw await listenError(error, config.host, config.port);
  }
  const stopFollowing =
    config.tls && tls && followTls(server.server as unknown as TlsServer, config.tls, tls, { logger: ctx.logger });
  const { port } = server.server.address() as AddressInfo;
  return {
    address: `${tls ? 'https' : 'http'}://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`,
    async stop(hurry) {
      await hub.drain.run(hurry);
      stopClock();
      stopBeginning();
      stopFollowing?.();
      // Requests in flight are finished; one that trickles in, or is read by nobody, is not waited for.
      const late = setTimeout(() => server.server.closeAllConnections(), LAST_REQUESTS_MS);
      await server.close();
      clearTimeout(late);
      ctx.verifier.close();
      await hub.stop();
    },
  };
}

if (import.meta.main) await startAlone('gateway', startGateway);
