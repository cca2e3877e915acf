import { describe, expect, test } from 'vitest';
import { createLogger } from './logger.ts';
import { createMetrics, declarations } from './metrics.ts';

describe('metrics', () => {
  test('every declared metric appears with its help and type', async () => {
    const metrics = createMetrics();
    const text = await metrics.registry.metrics();
    for (const { name, kind, help } of Object.values(declarations)) {
      expect(text).toContain(`# TYPE millrace_${name} ${kind}\n`);
      expect(help).toMatch(/\.$/);
    }
    expect(text).toContain('process_resident_memory_bytes');
    metrics.stop();
  });

  test('children bound to labels are counted apart, and can be forgotten', async () => {
    const metrics = createMetrics();
    const ws = metrics.accepted.of('ws');
    ws.inc();
    ws.inc(2);
    metrics.accepted.of('http').inc();
    expect(metrics.accepted.of('ws')).toBe(ws);
    metrics.logLagEntries.of('fanout', '3').set(7);
    metrics.logLagEntries.of('fanout', '4').set(8);
    metrics.logLagEntries.remove('fanout', '4');
    const text = await metrics.registry.metrics();
    expect(text).toContain('millrace_messages_accepted_total{via="ws"} 3\n');
    expect(text).toContain('millrace_messages_accepted_total{via="http"} 1\n');
    expect(text).toContain('millrace_log_lag_entries{role="fanout",partition="3"} 7\n');
    expect(text).not.toContain('partition="4"');
    metrics.stop();
  });

  test('a histogram counts on the boundary, between and beyond, cumulatively', async () => {
    const metrics = createMetrics();
    for (const value of [0.0005, 0.0006, 0.002, 99]) metrics.deliveryLatency.observe(value);
    const text = await metrics.registry.metrics();
    expect(text).toContain('millrace_delivery_latency_seconds_bucket{le="0.0005"} 1\n');
    expect(text).toContain('millrace_delivery_latency_seconds_bucket{le="0.001"} 2\n');
    expect(text).toContain('millrace_delivery_latency_seconds_bucket{le="0.002"} 3\n');
    expect(text).toContain('millrace_delivery_latency_seconds_bucket{le="10"} 3\n');
    expect(text).toContain('millrace_delivery_latency_seconds_bucket{le="+Inf"} 4\n');
    expect(text).toContain('millrace_delivery_latency_seconds_count 4\n');
    metrics.stop();
  });

  test('the event loop delay is told', async () => {
    const metrics = createMetrics();
    const end = Date.now() + 150;
    await new Promise((resolve) => setTimeout(resolve, 30));
    while (Date.now() < end);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const text = await metrics.registry.metrics();
    const worst = Number(/millrace_event_loop_delay_seconds\{quantile="1"\} (\S+)/.exec(text)?.[1]);
    expect(worst).toBeGreaterThan(0.05);
    metrics.stop();
  });
});

describe('logger', () => {
  test('contents, tokens and secrets do not reach a line', () => {
    const lines: string[] = [];
    const logger = createLogger({ name: 't', level: 'info', destination: { write: (line) => lines.push(line) } });
    logger.info(
      { token: 'SECRET', frame: { content: 'SECRET', channel: 'g:1' }, a: { b: { push_token: 'SECRET' } } },
      'x',
    );
    logger.info({ req: { headers: { authorization: 'SECRET' } } }, 'y');
    expect(lines).toHaveLength(2);
    expect(lines.join()).not.toContain('SECRET');
    expect(lines[0]).toContain('g:1');
  });

  test('what a driver hangs on its errors does not reach a line', () => {
    const lines: string[] = [];
    const logger = createLogger({ name: 't', level: 'info', destination: { write: (line) => lines.push(line) } });
    const command = { name: 'evalsha', args: ['SECRET'] };
    const cause = Object.assign(new Error('the cause'), { command });
    logger.warn({ err: Object.assign(new Error('a reason', { cause }), { command, code: 'E1' }) }, 'x');
    expect(lines.join()).not.toContain('SECRET');
    expect(lines.join()).toMatch(/a reason.*E1.*the cause/);
  });
});
