/** `millrace inspect partition` and `lag`: how far the workers are. */
import { InvalidArgumentError } from 'commander';
import type { LogRole } from '../../lib/keyspace/index.ts';
import { msOf, ZERO } from '../../lib/redis/ids.ts';
import { COUNT_AT_MOST, counted, type Looking } from './looking.ts';
import { ago, type Section } from './table.ts';

const logRoles: readonly LogRole[] = ['fanout', 'archiver'];
const leasedRoles = [...logRoles, 'presence', 'pusher'];

/** What waits in a queue of wake-ups; read and not finished is among it. */
interface Queue {
  waiting: number;
  oldest: string | null;
  'being sent': number;
}

export async function inspectPartition({ store, keys, cli }: Looking, text: string): Promise<Section[]> {
  const p = /^\d{1,4}$/.test(text) ? Number(text) : -1;
  if (!(p >= 0 && p < keys.partitions)) throw new InvalidArgumentError(`partitions are 0 to ${keys.partitions - 1}`);
  const redis = store.command;
  const log = keys.log(p);
  const [length, oldest, newest, positions, cursor, dead, wakeups, renewals, leases] = await Promise.all([
    redis.xlen(log),
    redis.xrange(log, '-', '+', 'COUNT', 1),
    redis.xrevrange(log, '+', '-', 'COUNT', 1),
    redis.hgetall(keys.positions(p)),
    redis.hgetall(keys.cursor(p)),
    redis.xlen(keys.dead(p)),
    queueOf({ store, keys }, p),
    redis.hgetall(keys.gateways(p)),
    Promise.all(leasedRoles.map((role) => redis.get(keys.lease(p, role)))),
  ]);
  const gateways = await Promise.all(
    Object.entries(renewals).map(async ([gateway, renewed]) => ({
      gateway,
      renewed: ago(Number(renewed)),
      sessions: await redis.scard(keys.served(p, gateway)),
    })),
  );
  return [
    {
      title: `Log of partition ${p}`,
      redisCli: `${cli} XREVRANGE '${log}' + - COUNT 10`,
      rows: [
        {
          entries: length,
          oldest: oldest[0]?.[0] ?? null,
          newest: newest[0]?.[0] ?? null,
          'trimmed up to': positions.trimmed ?? null,
        },
      ],
    },
    {
      title: 'Positions: how far each role has come in the log',
      redisCli: `${cli} HGETALL '${keys.positions(p)}'`,
      rows: logRoles.map((role) => ({ role, position: positions[role] ?? null })),
    },
    {
      title: 'Leases: which worker has this partition',
      redisCli: `${cli} MGET ${leasedRoles.map((role) => `'${keys.lease(p, role)}'`).join(' ')}`,
      rows: leasedRoles.map((role, i) => ({ role, 'held by': leases[i] ?? null })),
    },
    {
      title: 'Cursor: how much of each source partition is applied here',
      redisCli: `${cli} HGETALL '${keys.cursor(p)}'`,
      rows: Object.entries(cursor)
        .sort(([a], [b]) => Number(a) - Number(b))
        .map(([source, applied]) => ({ source, 'applied up to': applied })),
    },
    {
      title: "Gateways that serve this partition's users",
      redisCli: `${cli} HGETALL '${keys.gateways(p)}'`,
      rows: gateways,
    },
    {
      title: 'Wake-ups to send',
      redisCli: `${cli} XINFO STREAM '${keys.push(p)}' FULL COUNT 3`,
      rows: [{ ...wakeups }],
    },
    {
      title: 'Dead letters',
      redisCli: `${cli} XREVRANGE '${keys.dead(p)}' + - COUNT 10`,
      rows: [{ entries: dead }],
    },
  ];
}

export async function inspectLag({ store, keys, cli }: Looking): Promise<Section[]> {
  const redis = store.command;
  const rows = await Promise.all(
    Array.from({ length: keys.partitions }, async (_, p) => {
      const [positions, entries] = await Promise.all([redis.hgetall(keys.positions(p)), redis.xlen(keys.log(p))]);
      const behind = await Promise.all(
        logRoles.map(async (role) => {
          const after = positions[role] ?? ZERO;
          const waiting = await redis.xrange(keys.log(p), `(${after}`, '+', 'COUNT', COUNT_AT_MOST + 1);
          const first = waiting[0]?.[0];
          return [
            [`${role} behind`, counted(waiting.length)],
            [`${role} oldest`, first === undefined ? null : ago(msOf(first))],
          ] as const;
        }),
      );
      return { partition: p, 'in the log': entries, ...Object.fromEntries(behind.flat()) };
    }),
  );
  return [
    {
      title: 'What each role has still to do, by partition',
      redisCli: `${cli} HGETALL '${keys.positions(0)}'`,
      rows,
    },
    {
      title: 'Wake-ups to send, and dead letters, by partition',
      redisCli: `${cli} XINFO STREAM '${keys.push(0)}' FULL COUNT 3`,
      rows: await Promise.all(
        Array.from({ length: keys.partitions }, async (_, p) => {
          const [queue, dead] = await Promise.all([queueOf({ store, keys }, p), redis.xlen(keys.dead(p))]);
          return { partition: p, ...queue, 'dead letters': dead };
        }),
      ),
    },
  ];
}

async function queueOf({ store, keys }: Pick<Looking, 'store' | 'keys'>, p: number): Promise<Queue> {
  const key = keys.push(p);
  const [waiting, first, pending] = await Promise.all([
    store.command.xlen(key),
    store.command.xrange(key, '-', '+', 'COUNT', 1),
    // No pusher has ever been here: there is no group, or no queue.
    store.command.xpending(key, 'pusher').catch((error: unknown) => {
      if (error instanceof Error && error.message.startsWith('NOGROUP')) return [0];
      throw error;
    }),
  ]);
  const id = first[0]?.[0];
  return { waiting, oldest: id === undefined ? null : ago(msOf(id)), 'being sent': Number(pending[0]) };
}
