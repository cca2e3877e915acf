import fastify from 'fastify';
import { expect, test } from 'vitest';
import { createMetrics } from './metrics.ts';
import { type Readiness, registerProbes } from './probes.ts';

const probe = (readiness: () => Promise<Readiness>) => {
  const app = fastify();
  const metrics = createMetrics();
  metrics.stop();
  registerProbes(app, { registry: metrics.registry, readiness, about: { roles: ['fanout'] } });
  return app;
};

test('ready, not ready, failed and late are told apart, and none of them hangs', async () => {
  const ready = await probe(async () => ({ ready: true, parts: { redis: 'ok', archive: 'unreachable' } })).inject(
    '/readyz',
  );
  expect(ready.statusCode).toBe(200);
  expect(ready.json()).toEqual({ status: 'ready', parts: { redis: 'ok', archive: 'unreachable' } });
  const not = await probe(async () => ({ ready: false, parts: { redis: 'unreachable' } })).inject('/readyz');
  expect(not.statusCode).toBe(503);
  expect(not.json()).toMatchObject({ status: 'not ready' });
  const failed = await probe(() => Promise.reject(new Error('x'))).inject('/readyz');
  expect(failed.statusCode).toBe(503);
  const late = await probe(() => new Promise(() => undefined)).inject('/readyz');
  expect(late.statusCode).toBe(503);
  expect(late.json()).toEqual({ status: 'not ready', parts: { readiness: 'no answer within 2 s' } });
});

test('liveness says who it is; metrics come as Prometheus reads them', async () => {
  const app = probe(async () => ({ ready: false, parts: {} }));
  expect((await app.inject('/healthz')).json()).toEqual({
    status: 'ok',
    service: 'millrace',
    pid: process.pid,
    roles: ['fanout'],
  });
  const metrics = await app.inject('/metrics');
  expect(metrics.headers['content-type']).toContain('text/plain');
  expect(metrics.body).toContain('# TYPE millrace_connections gauge\nmillrace_connections 0\n');
});
