/** The gateway's one HTTP server: probes, the HTTP API and the WebSocket's upgrade. */
import fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { readinessOf } from '../../lib/process/readiness.ts';
import { registerProbes } from '../../lib/telemetry/probes.ts';
import type { GatewayContext } from './context.ts';
import type { Hub } from './hub.ts';
import { registerRoutes, serverOptions } from './routes/index.ts';
import { type Patience, registerSocket } from './socket.ts';

export async function buildServer(ctx: GatewayContext, hub: Hub, patience?: Patience) {
  const server: FastifyInstance = fastify({
    loggerInstance: ctx.logger as FastifyBaseLogger,
    ...serverOptions(),
    forceCloseConnections: 'idle',
  });
  registerProbes(server, {
    registry: ctx.metrics.registry,
    readiness: () => readinessOf(ctx.store, ctx.archive),
    about: { roles: 'gateway' },
  });
  registerRoutes(server, ctx);
  const stopClock = await registerSocket(server, hub, patience);
  return { server, stopClock };
}
