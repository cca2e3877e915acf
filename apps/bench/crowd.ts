/** A crowd that comes all at once, and what those who are in notice of it. */

import { until } from '../../ops/until.ts';
import type { ClientSpec, LoadResult } from './orders.ts';
import { Generator } from './remote-generator.ts';
import type { Fact } from './report.ts';
import type { Setting } from './setting.ts';

const CROWD = 10_000;
const LIVE = 200;
/** Processes that the crowd comes from: one alone would be slower than the gateway. */
const FROM = 3;
const LIVE_PER_S = 200;
/** For a crowd to be in, and more. */
const MEASURED_S = 20;

/** One gateway; the users are the crowd's own, beside those of the setting's generator. */
export async function crowd(setting: Setting, scenario: string, say: (line: string) => void): Promise<Fact[]> {
  const [gateway] = setting.gateways;
  if (!gateway) throw new Error('no gateway');
  const live = await setting.connect(LIVE);
  const generators = Array.from({ length: FROM }, () => new Generator());
  try {
    const parts = generators.map((_, g) =>
      Array.from({ length: Math.floor(CROWD / FROM) }, (_, i): ClientSpec => {
        const user = `crowd-${g}-${i}`;
        return { user, token: setting.deployment.token(user), gateway: 0 };
      }),
    );
    for (const generator of generators) {
      await generator.obey({ order: 'gateways', addresses: [gateway.address], dialect: 'millrace', acks: true });
    }
    const facts: Fact[] = [];
    const phases: [string, () => Promise<void>][] = [
      [
        'connect',
        async () => {
          await Promise.all(
            generators.map((generator, g) => {
              const clients = parts[g] ?? [];
              return generator.obey({ order: 'connect', clients, atOnce: clients.length });
            }),
          );
        },
      ],
      [
        'leave',
        async () => {
          await Promise.all(
            generators.map((generator, g) => generator.obey({ order: 'leave', clients: [0, parts[g]?.length ?? 0] })),
          );
          await until(
            'the crowd is gone',
            60_000,
            () => metric(gateway.address, 'sessions'),
            (sessions) => sessions <= LIVE,
          );
        },
      ],
      [
        'come back',
        async () => {
          await Promise.all(
            generators.map((generator, g) =>
              generator.obey({ order: 'return', clients: [0, parts[g]?.length ?? 0], timeoutS: 60 }),
            ),
          );
        },
      ],
    ];
    for (const [what, act] of phases) {
      const delays = watchDelay(gateway.address);
      let seconds = 0;
      let acted: Promise<void> | undefined;
      const { result } = await setting.measure(
        {
          target: { kind: 'direct', from: live },
          rate: LIVE_PER_S,
          warmS: 1,
          seconds: MEASURED_S,
          settle: 'received',
          settleS: 15,
        },
        () => {
          const start = performance.now();
          acted = act().then(() => {
            seconds = (performance.now() - start) / 1000;
          });
          return acted;
        },
      );
      await acted;
      const delay = await delays();
      say(`${CROWD} ${what} within ${seconds.toFixed(1)} s, event loop at most ${Math.round(delay * 1000)} ms late`);
      facts.push(...factsOf(scenario, what, seconds, delay, result));
    }
    const missed = await metric(gateway.address, 'closes_total{code="4008"}');
    facts.push({ scenario, what: 'heartbeats missed', value: missed, unit: '', goal: { atMost: 0 } });
    return facts;
  } finally {
    for (const generator of generators) generator.stop();
  }
}

function factsOf(scenario: string, what: string, seconds: number, delay: number, result: LoadResult): Fact[] {
  const { accepted, received, verdict } = result;
  return [
    { scenario, what: `${CROWD} ${what} at once`, value: seconds, unit: 's' },
    { scenario, what: `${what}: event loop late`, value: delay * 1000, unit: 'ms at most', goal: { atMost: 200 } },
    { scenario, what: `${what}: live sends accepted, p99`, value: accepted.p99, unit: 'ms' },
    { scenario, what: `${what}: live sends accepted`, value: accepted.max, unit: 'ms at most' },
    { scenario, what: `${what}: live messages received, p99`, value: received.p99, unit: 'ms' },
    { scenario, what: `${what}: live messages received`, value: received.max, unit: 'ms at most' },
    { scenario, what: `${what}: live sessions cut off`, value: verdict.reconnects, unit: '', goal: { atMost: 0 } },
    { scenario, what: `${what}: live messages lost`, value: verdict.lost, unit: '', goal: { atMost: 0 } },
  ];
}

/** The metric is what it was since it was last read, by whomever: so it is read often. */
function watchDelay(address: string): () => Promise<number> {
  let worst = 0;
  const look = async () => {
    worst = Math.max(worst, await metric(address, 'event_loop_delay_seconds{quantile="1"}'));
  };
  const clock = setInterval(() => void look(), 200);
  return async () => {
    clearInterval(clock);
    await look();
    return worst;
  };
}

/** 0 when it was never counted. */
async function metric(address: string, name: string): Promise<number> {
  const text = await (await fetch(`${address}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`millrace_${name} `));
  return Number(line?.split(' ').at(-1) ?? 0);
}
