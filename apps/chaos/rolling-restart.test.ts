/** A deployment of new gateways, one after the other, under traffic: nobody notices. */
import { expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { Stage } from './stage.ts';
import { Traffic } from './traffic.ts';

/** `CHAOS=full`: the size that is promised. */
const LONG = process.env.CHAOS === 'full';
const GATEWAYS = LONG ? 4 : 2;
const USERS = LONG ? 400 : 60;
const PER_SECOND = LONG ? 1_000 : 100;
const SPREAD_MS = LONG ? 10_000 : 3_000;
const GRACE_MS = SPREAD_MS + 3_000;
/** How often a balancer asks who is ready. */
const LOOK_MS = 200;
const LATE_MS = 2_000;

/**
 * What stands in front of gateways: new connections go to those that say they are ready, in turn. It only says where; a
 * proxy for all that the clients send and get would cost as much as they do.
 */
class Balancer {
  readonly members = new Set<MillraceProcess>();
  #ready: string[] = [];
  #turn = 0;
  readonly #timer = setInterval(() => void this.look(), LOOK_MS);

  async look(): Promise<void> {
    const asked = [...this.members].map(async ({ address }) => {
      const ready = await fetch(`${address}/readyz`).then(
        (response) => response.ok,
        () => false,
      );
      return ready ? [address] : [];
    });
    this.#ready = (await Promise.all(asked)).flat();
  }

  /** The same place at the gateway whose turn it is. */
  readonly to = (url: string): URL => {
    const { protocol, pathname, search } = new URL(url);
    const next = new URL(pathname + search, this.#ready[this.#turn++ % this.#ready.length]);
    next.protocol = protocol;
    return next;
  };

  stop(): void {
    clearInterval(this.#timer);
  }
}

it('a rolling restart of all gateways loses nothing, delays nothing for long, and makes no spike', {
  timeout: 240_000,
}, async () => {
  const stage = await Stage.set(0, { env: { DRAIN_GRACE: `${GRACE_MS}`, DRAIN_SPREAD: `${SPREAD_MS}` } });
  const balancer = new Balancer();
  class Balanced extends WebSocket {
    constructor(url: string) {
      super(balancer.to(url), { perMessageDeflate: false });
    }
  }
  try {
    for (let i = 0; i < GATEWAYS; i++) balancer.members.add(await stage.deployment.start('gateway'));
    await balancer.look();

    const traffic = new Traffic({
      deployment: stage.deployment,
      gateways: [...balancer.members],
      users: USERS,
      groups: 10,
      through: {
        webSocket: Balanced as unknown as typeof globalThis.WebSocket,
        fetch: (url, init) => fetch(balancer.to(String(url)), init),
      },
    });
    const welcomedAt: number[] = [];
    const broken: unknown[] = [];
    let startedAt = Number.POSITIVE_INFINITY;
    const shownAt = new Map<string, number>();
    for (const [i, client] of traffic.clients.entries()) {
      client.on('connected', () => void welcomedAt.push(performance.now()));
      client.on(
        'disconnected',
        (why) => void broken.push({ ...why, at: performance.now() - startedAt, cause: String(why.cause) }),
      );
      client.on('message', ({ id }) => void shownAt.set(`${traffic.users[i]} ${id}`, performance.now()));
    }
    await traffic.connect();
    traffic.start(PER_SECOND);
    startedAt = performance.now();

    for (const old of [...balancer.members]) {
      const before = welcomedAt.length;
      balancer.members.add(await stage.deployment.start('gateway'));
      await balancer.look();
      await old.kill('SIGTERM');
      expect(await old.exited).toBe(0);
      balancer.members.delete(old);
      // Its clients are spread over SPREAD_MS; how many they are differs, newer gateways having had fewer arrivals.
      const moves = welcomedAt.slice(before);
      expect(moves.length).toBeGreaterThan(0);
      const busiest = Math.max(...moves.map((at) => moves.filter((other) => other >= at && other < at + 1_000).length));
      expect(busiest).toBeLessThanOrEqual(2 * Math.ceil((moves.length / SPREAD_MS) * 1_000));
    }
    await traffic.stop();
    await until(
      'everything is shown',
      20_000,
      () => traffic.wrong(),
      (wrong) => wrong.length === 0,
    );

    expect(traffic.refused).toEqual([]);
    expect(traffic.disorder()).toEqual([]);
    const late = traffic.sent.flatMap(({ channel, from, id, sentAt, acceptedAt }) =>
      [
        acceptedAt,
        ...(traffic.channels.get(channel) ?? [])
          .filter((user) => user !== from)
          .map((user) => shownAt.get(`${user} ${id}`) ?? Number.POSITIVE_INFINITY),
      ]
        .map((at) => at - sentAt)
        .filter((ms) => ms > LATE_MS),
    );
    expect(late).toEqual([]);
    expect(welcomedAt.length).toBeGreaterThanOrEqual(2 * USERS);
    expect([...broken]).toEqual([]);
    await traffic.close();
  } finally {
    balancer.stop();
    await stage.clear();
  }
});
