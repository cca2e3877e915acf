/** Workers come, go and die; their partitions change hands, and delivery waits no longer than that takes. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MillraceClient } from '../../lib/client/index.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { keys, PARTITIONS, World } from './world.ts';

/** How soon the others look again, and a loaded machine's slack. */
const AT_ONCE_MS = 4_000;
/** lib/partitions/leases.ts */
const LEASE_MS = 10_000;
const EVERY_MS = 40;

let world: World;
let gateway: MillraceProcess;
let alice: MillraceClient;
/** By content: when it was sent, and how long it took to be shown. */
const sentAt = new Map<string, number>();
const tookMs = new Map<string, number>();
let timer: NodeJS.Timeout;

beforeAll(async () => {
  world = await World.start();
  gateway = await world.deployment.start('gateway');
  alice = world.client(gateway, 'alice');
  // One recipient for each partition that their channel with alice can be in: every worker has something to do.
  const recipients = new Map<number, string>();
  for (let i = 0; recipients.size < PARTITIONS; i++) {
    recipients.set(keys.partitionOf(`dm:alice:user${i}`), `user${i}`);
  }
  const clients = [...recipients.values()].map((user) => world.client(gateway, user));
  for (const client of clients) {
    client.on('message', ({ content }) => void tookMs.set(content, performance.now() - sentAt.get(content)!));
  }
  await Promise.all([alice, ...clients].map((client) => client.connect()));
  const users = [...recipients.values()];
  let n = 0;
  timer = setInterval(() => {
    const content = `${n}`;
    sentAt.set(content, performance.now());
    void alice.send({ to: users[n++ % users.length]!, content });
  }, EVERY_MS);
});
afterAll(async () => {
  clearInterval(timer);
  await world?.stop();
});

/** The longest time that a message took which was sent while `work` ran, or in the second before. */
async function worst(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now() - 1000;
  await work();
  const mine = [...sentAt].filter(([, at]) => at >= begin).map(([content]) => content);
  await until(
    'all of it is shown',
    20_000,
    () => mine.filter((content) => !tookMs.has(content)).length,
    (n) => n === 0,
  );
  return Math.max(...mine.map((content) => tookMs.get(content)!));
}

const share = (process: MillraceProcess, count: number) => world.holds(process, count, 15_000);

it('joining, stopping and dying: shares change hands in time, and delivery goes on', async () => {
  const a = await world.deployment.start('fanout');
  await share(a, 16);
  let b!: MillraceProcess;
  let c!: MillraceProcess;

  expect(
    await worst(async () => {
      b = await world.deployment.start('fanout');
      await Promise.all([share(a, 8), share(b, 8)]);
    }),
  ).toBeLessThan(AT_ONCE_MS);

  expect(
    await worst(async () => {
      c = await world.deployment.start('fanout');
      await until(
        'three share',
        15_000,
        async () => (await Promise.all([a, b, c].map((w) => world.holdings(w)))).sort().join(),
        (s) => s === '5,5,6',
      );
    }),
  ).toBeLessThan(AT_ONCE_MS);

  // Stopped: the others have everything as soon as the process has ended, give or take a look.
  expect(
    await worst(async () => {
      await b.stop();
      const ended = performance.now();
      await Promise.all([share(a, 8), share(c, 8)]);
      expect(performance.now() - ended).toBeLessThan(AT_ONCE_MS);
    }),
  ).toBeLessThan(AT_ONCE_MS);

  // Killed: nobody knows before its lease ends; its own messages wait so long, the others' do not.
  const killedAt = performance.now();
  expect(
    await worst(async () => {
      await c.kill('SIGKILL');
      await share(a, 16);
      expect(performance.now() - killedAt).toBeLessThan(LEASE_MS + AT_ONCE_MS);
    }),
  ).toBeLessThan(LEASE_MS + AT_ONCE_MS);
  const slow = [...tookMs].filter(([content, ms]) => sentAt.get(content)! > killedAt && ms > AT_ONCE_MS).length;
  const during = [...sentAt.values()].filter((at) => at > killedAt).length;
  expect(slow).toBeLessThan(during * 0.6);
}, 90_000);
