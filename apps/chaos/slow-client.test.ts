/**
 * Clients that stop reading their sockets. What the gateway keeps for each is bounded (128 KiB and one frame, beside what
 * the kernel's socket buffers take), others notice nothing, and afterwards they get everything: what the inbox no longer
 * holds through `gap` and history.
 *
 * CHAOS=full: 20,000 messages of 500 bytes, over more than a minute.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket as Ws } from 'ws';
import { type Message, MillraceClient } from '../../lib/client/index.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { pump } from './pump.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const FULL = process.env.CHAOS === 'full';
const MESSAGES = FULL ? 20_000 : 6_000;
/** More than the kernel takes for a socket (here 4 MiB to send and what it deems right to receive): then it is slow. */
const CONTENT = 'x'.repeat(FULL ? 500 : 3_000);
const AT_LEAST_MS = FULL ? 65_000 : 0;
const SLOW = 16;
/** The kernel may be generous to some of them, which then are not slow at all. */
const PAUSED_AT_LEAST = 12;
/**
 * For all of the slow ones together. What they are owed is 16 × 6,000 × 3.25 kB = 312 MB in the short form and
 * 16 × 20,000 × 0.75 kB = 240 MB in the full one; 16 × 128 KiB = 2 MiB is what they may have; measured: 8 MiB more.
 */
const MAY_GROW_BYTES = 32 * 1024 * 1024;
const CHANNEL_COUNT = 4;

let stage: Stage;
let writers: RawSession[];
beforeAll(async () => {
  // A heap that V8 has to keep tidy: what grows then is what is really held.
  stage = await Stage.set(2, { nodeArgs: ['--max-old-space-size=96', '--max-semi-space-size=4'] });
  writers = await Promise.all(
    Array.from({ length: CHANNEL_COUNT }, (_, i) => RawSession.start(stage.deployment, stage.gateway(1), `w${i}`)),
  );
});
afterAll(() => stage?.clear());

/** The client library over a socket that can be made to stop reading. */
function pausable(user: string, gateway: MillraceProcess) {
  const sockets: Ws[] = [];
  class Socket extends Ws {
    constructor(url: string) {
      super(url);
      sockets.push(this);
    }
  }
  const shown: Message[] = [];
  let gaps = 0;
  const client = new MillraceClient({
    url: gateway.address,
    token: stage.deployment.token(user),
    device: 'phone',
    webSocket: Socket as unknown as typeof WebSocket,
    // It is to be slow, not to notice it and connect again.
    pongTimeoutMs: 600_000,
  });
  client.on('message', (message) => void shown.push(message));
  client.on('gap', () => void gaps++);
  return { client, shown, sockets, gaps: () => gaps };
}

const resident = (process: MillraceProcess) =>
  1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${process.pid}/status`, 'utf8'))?.[1]);

async function paused(): Promise<number> {
  const text = await (await fetch(`${stage.gateway(0).address}/metrics`)).text();
  return Number(/^millrace_sessions_paused (\d+)/m.exec(text)?.[1]);
}

/** How long messages take between two others on the same gateway, until told to stop. */
async function latencies(stop: AbortSignal): Promise<number[]> {
  const to = await RawSession.start(stage.deployment, stage.gateway(0), 'quick');
  const from = await RawSession.start(stage.deployment, stage.gateway(0), 'brisk');
  const took: number[] = [];
  while (!stop.aborted) {
    const client_id = `${Math.random()}`;
    const sentAt = performance.now();
    from.send({ type: 'send', client_id, to: 'quick', content: 'how long?' });
    await to.next('message', { client_id }, 30_000);
    took.push(performance.now() - sentAt);
    to.frames.length = 0;
    await sleep(20);
  }
  await Promise.all([to.close(), from.close()]);
  return took.sort((a, b) => a - b);
}

async function measured<T>(work: () => Promise<T>): Promise<number[]> {
  const stop = new AbortController();
  const measuring = latencies(stop.signal);
  try {
    await work();
  } finally {
    stop.abort();
  }
  return await measuring;
}

const at = (sorted: number[], quantile: number) => sorted[Math.floor((sorted.length - 1) * quantile)] ?? Number.NaN;

describe(`${SLOW} clients that stop reading while ${MESSAGES} messages come`, () => {
  it('cost bounded memory, hold nobody up, and then get all of them', async () => {
    const slow = Array.from({ length: SLOW }, (_, i) => pausable(`slow-${i}`, stage.gateway(0)));
    await Promise.all(slow.map(({ client }) => client.connect()));
    const members = slow.map((_, i) => `slow-${i}`);
    const groups: string[] = [];
    for (let i = 0; i < CHANNEL_COUNT; i++) {
      const { channel } = await stage.call<{ channel: string }>(`w${i}`, 'POST /v1/channels', { title: 't', members });
      groups.push(channel);
    }
    const load = (count: number) =>
      Promise.all(groups.map((channel, i) => pump([writers[i]!], { channel }, count / CHANNEL_COUNT, () => CONTENT)));
    const told = (count: number) =>
      until('what was sent before', 60_000, () => slow.every((s) => s.shown.length >= count));

    // The same traffic with everybody reading: the heap has its size then, and latency something to be compared with.
    const before = await measured(async () => {
      await load(1_000);
      await told(1_000);
    });
    const base = resident(stage.gateway(0));
    for (const { sockets } of slow) sockets.at(-1)!.pause();
    let peak = base;
    const startedAt = performance.now();
    const sampling = setInterval(() => (peak = Math.max(peak, resident(stage.gateway(0)))), 50);
    const during = await measured(async () => {
      for (let i = 0; i < 10; i++) {
        await load(MESSAGES / 10);
        const dueAt = startedAt + (AT_LEAST_MS * (i + 1)) / 10;
        if (performance.now() < dueAt) await sleep(dueAt - performance.now());
      }
      await until('them to be paused', 30_000, paused, (count) => count >= PAUSED_AT_LEAST);
    }).finally(() => clearInterval(sampling));
    const stuck = await paused();
    const grown = peak - base;
    console.log(
      `gateway: ${mib(base)} MiB, at most ${mib(grown)} MiB more with ${stuck} slow clients; others' latency ` +
        `p50 ${at(before, 0.5).toFixed(1)} → ${at(during, 0.5).toFixed(1)} ms, ` +
        `p99 ${at(before, 0.99).toFixed(1)} → ${at(during, 0.99).toFixed(1)} ms`,
    );
    expect(grown).toBeLessThan(MAY_GROW_BYTES);
    // No promises in milliseconds: two cores are shared with everything else here. What is shown is that nobody waits
    // for the slow ones, who do not move at all.
    expect(at(during, 0.5)).toBeLessThan(Math.max(300, 3 * at(before, 0.5)));
    expect(at(during, 0.99)).toBeLessThan(Math.max(1_500, 3 * at(before, 0.99)));

    for (const { sockets } of slow) sockets.at(-1)!.resume();
    const total = 1_000 + MESSAGES;
    await until(
      'everything',
      120_000,
      () => slow.map(({ shown }) => shown.length),
      (counts) => counts.every((count) => count >= total),
    );
    expect(slow.filter(({ gaps }) => gaps() > 0).length).toBeGreaterThanOrEqual(PAUSED_AT_LEAST);
    for (const [i, { shown, sockets }] of slow.entries()) {
      expect(sockets, `slow-${i} kept its session`).toHaveLength(1);
      expect(shown).toHaveLength(total);
      for (const channel of groups) {
        const seqs = shown.filter((message) => message.channel === channel).map((message) => message.seq);
        expect(seqs).toEqual(Array.from({ length: total / CHANNEL_COUNT }, (_, k) => k + 2));
      }
    }
    expect(await paused()).toBe(0);
    expect(stage.complaints()).toEqual([]);
    await Promise.all(slow.map(({ client }) => client.close()));
  }, 300_000);
});

const mib = (bytes: number) => (bytes / 1024 / 1024).toFixed(1);
