/** `/healthz`, `/readyz` and `/metrics`, the same on every process whatever its roles. */
import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';

export interface Readiness {
  ready: boolean;
  /** Each part and its state in a word or two: `{ redis: 'ok', archive: 'unreachable' }`. */
  parts: Record<string, string>;
}

export interface ProbeOptions {
  registry: Registry;
  readiness: () => Promise<Readiness>;
  /** Told by /healthz, so that a second start on this port can say whose it is. */
  about?: Record<string, unknown>;
}

/** How long /readyz waits for its parts: below the usual probe time-out. */
const readinessTimeoutMs = 2000;

export function registerProbes(app: FastifyInstance, options: ProbeOptions): void {
  app.get('/healthz', async () => ({ status: 'ok', service: 'millrace', pid: process.pid, ...options.about }));

  app.get('/readyz', async (_request, reply) => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Readiness>((resolve) => {
      timer = setTimeout(
        () => resolve({ ready: false, parts: { readiness: 'no answer within 2 s' } }),
        readinessTimeoutMs,
      );
    });
    const { ready, parts } = await Promise.race([options.readiness(), late]).catch((error: unknown): Readiness => {
      app.log.warn({ err: error }, 'readiness could not be told');
      return { ready: false, parts: { readiness: 'failed' } };
    });
    clearTimeout(timer);
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not ready', parts });
  });

  app.get('/metrics', async (_request, reply) =>
    reply.type(options.registry.contentType).send(await options.registry.metrics()),
  );
}
