/** A gateway hears that a connection is gone when its device has long come back to it: the late close must take nothing. */
import { until } from '../../../ops/until.ts';
import { type Arena, addressOf } from '../run/arena.ts';
import { on, type Store } from '../run/store.ts';
import type { Fault } from './fault.ts';
import { PROMOTION_MS, shardsOf } from './nodes.ts';

/** `user device` → `gateway session`, as the store has it. */
type Registered = ReadonlyMap<string, string>;

/** Devices come back within 2 s; on a busy machine, or with another fault in the mix, it takes longer. */
const BACK_WITHIN_MS = 30_000;
/** A registration that was taken by mistake does not come back by itself. */
const RIGHT_WITHIN_MS = 10_000;

/** Also when another fault of the mix has Redis. */
async function registrations(store: Store): Promise<Registered> {
  const look = () => registered(store).catch(() => undefined);
  return (await until('the store says who is registered', PROMOTION_MS, look))!;
}

async function registered(store: Store): Promise<Registered> {
  const primaries =
    store.topology === 'standalone' ? store.servers : (await shardsOf(store)).map(({ primary }) => primary);
  const found = primaries.map((server) =>
    on(server, async (redis) => {
      const keys = await redis.keys('sessions:*');
      const hashes = await Promise.all(keys.map((key) => redis.hgetall(key)));
      return keys.flatMap((key, i) => {
        const user = key.slice(key.indexOf('}:') + 2);
        return Object.entries(hashes[i]!).map(([device, session]) => [`${user} ${device}`, session] as const);
      });
    }),
  );
  return new Map((await Promise.all(found)).flat());
}

/** Who is connected all the while that the store is looked at, and not registered, or as the session that is gone. */
async function wronged(arena: Arena, gone: Registered): Promise<string[]> {
  const names = async () => new Set((await arena.connected()).map(({ user, name }) => `${user} ${name}`));
  const before = await names();
  const sessions = await registrations(arena.store);
  const after = await names();
  return [...before].filter((device) => {
    if (!after.has(device)) return false;
    const session = sessions.get(device);
    return session === undefined || session === gone.get(device);
  });
}

export const lateClose: Fault = {
  name: 'late-close',
  does: 'all devices of a gateway lose their connections and come back to it; only then does it hear that the old ones are closed',
  victims: ['gateway', 'network'],
  calmS: 4,
  async strike(arena, random) {
    const gateway = random.pick(arena.running('gateway'));
    const isIts = new RegExp(`-${gateway.pid}-\\S* `);
    // Whoever comes back meanwhile comes to this one.
    const others = arena.running('gateway').filter((other) => other !== gateway);
    for (const other of others) arena.takeThis('gateway', other);
    try {
      const before = await registrations(arena.store);
      const old = new Map([...before].filter(([, session]) => isIts.test(session)));
      const lines = [arena.clients, arena.slowClients].map((proxy) => proxy.strand(addressOf(gateway)));
      const back = async () => {
        const now = await registrations(arena.store);
        return [...old].filter(([device, session]) => now.get(device) !== session).length;
      };
      // But for some who leave just then.
      const count = await until('devices are back', BACK_WITHIN_MS, back, (devices) => devices >= old.size * 0.75);
      for (const line of lines) line.tell();
      await until('the gateway has closed what is gone', BACK_WITHIN_MS, () => lines.every((line) => line.gone()));
      await until('who is connected is registered', RIGHT_WITHIN_MS, async () => {
        return (await wronged(arena, old)).length === 0;
      }).catch(async () => {
        for (const device of await wronged(arena, old)) arena.complain(`${device} is connected and not registered`);
      });
      return `gateway ${gateway.pid} heard that ${old.size} devices had lost their connections when ${count} were back on it`;
    } finally {
      for (const other of others) arena.giveBack('gateway', other);
    }
  },
};
