/** The gateway's one HTTP server: probes, the HTTP API and the WebSocket's upgrade. */
import fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { readinessOf } from '../../lib/process/readiness.ts';
import { registerProbes } from '../../lib/telemetry/probes.ts';
import type { GatewayContext } from './context.ts';
import type { Hub } from './hub.ts';
import { browsers } from './routes/browsers.ts';
import { registerRoutes, serverOptions } from './routes/index.ts';
import { type Patience, registerSocket } from './socket.ts';
import { HANDSHAKE_TIMEOUT_MS, type TlsPair } from './tls.ts';

export async function buildServer(ctx: GatewayContext, hub: Hub, patience?: Patience, tls?: TlsPair) {
  const server: FastifyInstance = fastify({
    loggerInstance: ctx.logger as FastifyBaseLogger,
    ...serverOptions(),
    forceCloseConnections: 'idle',
    ...(ctx.config.trustProxy === undefined ? {} : { trustProxy: [...ctx.config.trustProxy] }),
    // Its type is that of a plain server's options, which the instance's whole type would follow.
    ...(tls === undefined ? {} : ({ https: { ...tls, handshakeTimeout: HANDSHAKE_TIMEOUT_MS } } as object)),
  });
  await browsers(server, ctx.config);
  registerProbes(server, {
    registry: ctx.metrics.registry,
    readiness: async () => {
      if (hub.drain.active) return { ready: false, parts: { gateway: 'draining' } };
      return await readinessOf(ctx.store, ctx.archive);
    },
    about: { roles: 'gateway' },
  });
  // Whoever keeps a connection open comes back on another one, elsewhere.
  server.addHook('onSend', async (_request, reply) => {
    if (hub.drain.active) reply.header('connection', 'close');
  });
  registerRoutes(server, ctx, hub.receipts);
  const stopClock = await registerSocket(server, hub, patience);
  return { server, stopClock };
}
