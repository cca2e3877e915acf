/** A primary dies under load: what is lost, and how long everybody waits beyond what the store itself takes. */
import { Redis } from 'ioredis';
import { until } from '../../ops/until.ts';
import { HOPS } from './hops.ts';
import type { Fact } from './report.ts';
import { direct, type Scenario, withSetting } from './scenario.ts';
import type { Stores, StoresOptions } from './stores.ts';

const USERS = 1000;
const PER_S = 1000;
/** Before the fault and after it, to compare. */
const CALM_S = 10;
/** From the fault on. */
const LOADED_S = 20;
/** Beyond the store's own promotion. */
const ALLOWED_S = 1;

export function failover(store: StoresOptions): Scenario['run'] {
  return (run) =>
    withSetting(run, { ...store, env: { ACK_REPLICAS: '1' } }, async (setting) => {
      const { scenario, say } = run;
      const { generator } = setting;
      const users = await setting.connect(USERS);
      const load = (seconds: number, warmS: number) => direct(users, PER_S, seconds, { warmS, settleS: 30 });
      const calm = await generator.obey({ order: 'load', load: load(CALM_S, 10) });
      say(`p99 ${Math.round(calm.received.p99)} ms: a primary dies`);
      let died: Promise<{ promotedS: number; followedS: number }> | undefined;
      const struck = await generator.obey({ order: 'load', load: load(LOADED_S, 3) }, (event) => {
        if (event !== 'begin') return;
        died = killFirst(setting.redis);
        died.catch(() => undefined); // told when it is awaited
      });
      const { promotedS, followedS } = await died!;
      const after = await generator.obey({ order: 'load', load: load(CALM_S, 1) });

      const { verdict, received, hops } = struck;
      const slowest = HOPS.map((hop) => `${hop} ${Math.round(hops?.slowest[hop] ?? 0)}`);
      say(`mean ms of the slowest hundredth: ${slowest.join(', ')}`);
      const none = { goal: { atMost: 0 } };
      const facts: Omit<Fact, 'scenario'>[] = [
        { what: 'sent, and a primary killed', value: PER_S, unit: '/s' },
        { what: 'accepted', value: verdict.accepted, unit: `of ${verdict.sent}` },
        { what: 'accepted and lost', value: verdict.lost, unit: '', ...none },
        { what: 'received twice', value: verdict.duplicates, unit: '', ...none },
        { what: 'unanswered', value: verdict.unanswered, unit: '', ...none },
        { what: `refused at first ${JSON.stringify(verdict.errors)}`, value: total(verdict.errors), unit: '' },
        { what: 'cut off', value: verdict.reconnects, unit: '' },
        { what: 'another primary after', value: promotedS, unit: 's' },
        { what: 'a replica of it after', value: followedS, unit: 's' },
        {
          what: 'longest from send to shown',
          value: received.max / 1000,
          unit: 's',
          goal: { atMost: promotedS + ALLOWED_S },
        },
        { what: 'longest from send to accepted', value: struck.accepted.max / 1000, unit: 's' },
        { what: 'everything within a second again after', value: struck.lateForMs / 1000, unit: 's' },
        { what: 'received p99 before', value: calm.received.p99, unit: 'ms' },
        { what: 'received p99 after', value: after.received.p99, unit: 'ms' },
      ];
      return { rows: [], facts: facts.map((fact) => ({ scenario, ...fact })), pids: setting.pids };
    });
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}

/** When a replica was primary, and when that one had a replica of its own, without which nothing is accepted. */
async function killFirst({ primaries: [primary], replicas }: Stores) {
  const asked = replicas.map(({ url }) => new Redis(url));
  try {
    const roles = await Promise.all(asked.map((redis) => redis.role()));
    if (roles.some(([role]) => role !== 'slave')) throw new Error('a replica is none');
    primary!.kill('SIGKILL');
    const from = performance.now();
    const since = () => Math.round((performance.now() - from) / 100) / 10;
    // [role, offset, replicas] of who is primary.
    const heir = async () =>
      (await Promise.all(asked.map((redis) => redis.role()))).find(([role]) => role === 'master');
    await until('a replica is promoted', 30_000, heir);
    const promotedS = since();
    await until('it has a replica', 30_000, heir, (found) => (found?.[2] as unknown[] | undefined)?.length !== 0);
    return { promotedS, followedS: since() };
  } finally {
    for (const redis of asked) redis.disconnect();
  }
}
