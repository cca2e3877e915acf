/** `millrace inspect`: what an operator asks Redis for, as tables, each with the redis-cli line that shows the same. */
import { type Command, InvalidArgumentError } from 'commander';
import { type Keyspace, keyspace, type LogRole } from '../../lib/keyspace/index.ts';
import { parseChannel } from '../../lib/protocol/ids.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { StartupError } from '../../lib/redis/errors.ts';
import { msOf, ZERO } from '../../lib/redis/ids.ts';
import { createLogger } from '../../lib/telemetry/logger.ts';
import { operatorConfig, startHint } from './credentials.ts';
import { userArgument } from './remote.ts';
import { ago, type Section, show } from './table.ts';

const logRoles: readonly LogRole[] = ['fanout', 'archiver'];
/** Entries behind are counted by reading them: up to this many. */
const countAtMost = 1000;

export interface Looking {
  store: RedisStore;
  keys: Keyspace;
  /** `redis-cli -p 6379`, to which the command is added. */
  cli: string;
}

export function registerInspect(program: Command): void {
  const inspect = program.command('inspect').description('Look at what Redis holds, and how to see it with redis-cli.');
  const add = (name: string, text: string, what: (looking: Looking, argument: string) => Promise<Section[]>) =>
    inspect
      .command(name)
      .description(text)
      .option('--json', 'the same as JSON')
      .action(async (...args: unknown[]) => {
        const argument = typeof args[0] === 'string' ? args[0] : '';
        const options = args[args.length === 3 ? 1 : 0] as { json?: true };
        show(await look((looking) => what(looking, argument)), options.json === true);
      });
  add('user <id>', "A user's inbox, devices, sessions and conversations.", user);
  add('channel <id>', "A channel's head and members.", channel);
  add('partition <n>', "A partition's log, positions, leases, cursor and dead letters.", partition);
  add('lag', 'How far each role is behind in each partition.', lag);
}

/** Runs with a connection that ends with it. */
export async function look(what: (looking: Looking) => Promise<Section[]>): Promise<Section[]> {
  const config = operatorConfig();
  const logger = createLogger({ name: 'inspect', level: 'error' });
  const store = await connect(config.redisUrl, { logger, name: 'millrace-inspect', timeoutMs: 5000 }).catch((error) => {
    if (error instanceof StartupError) throw new StartupError(error.message + startHint(), { cause: error });
    throw error;
  });
  try {
    // The deployment knows its partition count better than our environment does.
    const stored = Number(await store.command.hget('millrace', 'partitions')) || config.partitions;
    return await what({ store, keys: keyspace(stored, { oneNode: store.kind !== 'cluster' }), cli: redisCli(store) });
  } finally {
    await store.close();
  }
}

/** Without user and password: those belong into REDISCLI_AUTH. */
export function redisCli({ kind, address }: Pick<RedisStore, 'kind' | 'address'>): string {
  if (kind === 'sentinel') return 'redis-cli -h <the primary>';
  const [, tls, host = '127.0.0.1', port = '6379', database] =
    /^redis(s?)(?:\+cluster)?:\/\/(?:[^/@]*@)?(\[[^\]]+\]|[^:/,]+)?(?::(\d+))?[^/]*(?:\/(\d+))?/.exec(address) ?? [];
  return [
    'redis-cli',
    kind === 'cluster' ? '-c' : '',
    host === '127.0.0.1' || host === 'localhost' ? '' : `-h ${host}`,
    port === '6379' ? '' : `-p ${port}`,
    tls ? '--tls' : '',
    database && database !== '0' ? `-n ${database}` : '',
  ]
    .filter((part) => part !== '')
    .join(' ');
}

async function user({ store, keys, cli }: Looking, text: string): Promise<Section[]> {
  const id = userArgument(text);
  const redis = store.command;
  const inbox = keys.inbox(id);
  const [length, oldest, newest, ttl, devices, sessions, conversations] = await Promise.all([
    redis.xlen(inbox),
    redis.xrange(inbox, '-', '+', 'COUNT', 1),
    redis.xrevrange(inbox, '+', '-', 'COUNT', 1),
    redis.pttl(inbox),
    redis.hgetall(keys.devices(id)),
    redis.hgetall(keys.sessions(id)),
    redis.hgetall(keys.conversations(id)),
  ]);
  // A device that only registered a token has never connected, and acked nothing.
  const known = new Set(Object.keys(devices).flatMap((field) => /^(?:device|push):(.+)$/.exec(field)?.[1] ?? []));
  const deviceRows = await Promise.all(
    [...known].map(async (device) => {
      const [acked = ZERO, seen] = devices[`device:${device}`]?.split(' ') ?? [];
      const waiting = await redis.xrange(inbox, `(${acked}`, '+', 'COUNT', countAtMost + 1);
      const [gateway = null] = sessions[device]?.split(' ') ?? [];
      return {
        device,
        acked,
        waiting: counted(waiting.length),
        'last seen': seen === undefined ? null : ago(Number(seen)),
        'on gateway': gateway,
        push: devices[`push:${device}`]?.split(' ')[0] ?? null,
        'woken up to': devices[`pushed:${device}`] ?? null,
      };
    }),
  );
  return [
    {
      title: `Inbox of ${id} (partition ${keys.partitionOf(id)})`,
      redisCli: `${cli} XRANGE '${inbox}' - + COUNT 10`,
      rows: [
        {
          entries: length,
          oldest: oldest[0]?.[0] ?? null,
          newest: newest[0]?.[0] ?? null,
          'trimmed up to': devices.trimmed ?? null,
          'expires in': ttl > 0 ? `${Math.round(ttl / 3_600_000)} h` : null,
          broken: devices.broken ?? null,
        },
      ],
    },
    { title: 'Devices', redisCli: `${cli} HGETALL '${keys.devices(id)}'`, rows: deviceRows },
    await wakeups({ store, keys, cli }, id),
    {
      title: 'Sessions',
      redisCli: `${cli} HGETALL '${keys.sessions(id)}'`,
      rows: Object.entries(sessions).map(([device, value]) => {
        const [gateway = '', session = ''] = value.split(' ');
        return { device, gateway, session };
      }),
    },
    {
      title: 'Conversations',
      redisCli: `${cli} HGETALL '${keys.conversations(id)}'`,
      rows: Object.entries(conversations)
        .map(([name, value]) => {
          const [last = '0', ts = '0', unread = '0', read = '0', left] = value.split(' ');
          return {
            channel: name,
            'last seq': last,
            last: ago(Number(ts)),
            unread,
            'read seq': read,
            left: left ? 'yes' : 'no',
            ts,
          };
        })
        .sort((a, b) => Number(b.ts) - Number(a.ts))
        .map(({ ts: _, ...row }) => row),
    },
  ];
}

/** Of the user's, among the partition's oldest: a queue that is longer than this has other troubles. */
async function wakeups({ store, keys, cli }: Looking, id: string): Promise<Section> {
  const queue = keys.push(keys.partitionOf(id));
  const entries = await store.command.xrange(queue, '-', '+', 'COUNT', countAtMost);
  const rows = entries.flatMap(([entry, fields]) => {
    const at = (name: string) => fields[fields.indexOf(name) + 1] ?? '';
    if (fields[1] !== id) return [];
    return [
      {
        entry,
        devices: at('devices'),
        channel: at('channel'),
        seq: at('seq'),
        messages: at('count'),
        queued: ago(msOf(entry)),
      },
    ];
  });
  return { title: 'Wake-ups waiting', redisCli: `${cli} XRANGE '${queue}' - + COUNT 10`, rows };
}

async function channel({ store, keys, cli }: Looking, id: string): Promise<Section[]> {
  const kind = parseChannel(id)?.kind;
  if (kind === undefined) {
    throw new InvalidArgumentError('A channel id is g:<id>, or dm:<a>:<b> with the two users in alphabetical order.');
  }
  const redis = store.command;
  const [head, members] = await Promise.all([redis.hgetall(keys.channel(id)), redis.hgetall(keys.members(id))]);
  // The last message's own text stays out: operators look at states, not at what people write.
  const { message: _, ...fields } = head;
  const about: Section = {
    title: `Channel ${id} (partition ${keys.partitionOf(id)})`,
    redisCli: `${cli} HGETALL '${keys.channel(id)}'`,
    rows: Object.entries(fields).map(([field, value]) => ({ field, value })),
  };
  // A direct channel's members are the two in its id: nothing is stored about them.
  if (kind === 'direct') return [about];
  return [
    about,
    {
      title: 'Members',
      redisCli: `${cli} HGETALL '${keys.members(id)}'`,
      rows: Object.entries(members).map(([name, value]) => {
        const [role = '', intervals = ''] = value.split(' ');
        return { user: name, role, 'member for seq': intervals, now: intervals.endsWith('-') ? 'member' : 'left' };
      }),
    },
  ];
}

async function partition({ store, keys, cli }: Looking, text: string): Promise<Section[]> {
  const p = /^\d{1,4}$/.test(text) ? Number(text) : -1;
  if (!(p >= 0 && p < keys.partitions)) throw new InvalidArgumentError(`partitions are 0 to ${keys.partitions - 1}`);
  const redis = store.command;
  const log = keys.log(p);
  const [length, oldest, newest, positions, cursor, dead, ...leases] = await Promise.all([
    redis.xlen(log),
    redis.xrange(log, '-', '+', 'COUNT', 1),
    redis.xrevrange(log, '+', '-', 'COUNT', 1),
    redis.hgetall(keys.positions(p)),
    redis.hgetall(keys.cursor(p)),
    redis.xlen(keys.dead(p)),
    ...logRoles.map((role) => redis.get(keys.lease(p, role))),
  ]);
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
      redisCli: `${cli} MGET ${logRoles.map((role) => `'${keys.lease(p, role)}'`).join(' ')}`,
      rows: logRoles.map((role, i) => ({ role, 'held by': leases[i] ?? null })),
    },
    {
      title: 'Cursor: how much of each source partition is applied here',
      redisCli: `${cli} HGETALL '${keys.cursor(p)}'`,
      rows: Object.entries(cursor)
        .sort(([a], [b]) => Number(a) - Number(b))
        .map(([source, applied]) => ({ source, 'applied up to': applied })),
    },
    {
      title: 'Dead letters',
      redisCli: `${cli} XREVRANGE '${keys.dead(p)}' + - COUNT 10`,
      rows: [{ entries: dead }],
    },
  ];
}

async function lag({ store, keys, cli }: Looking): Promise<Section[]> {
  const redis = store.command;
  const rows = await Promise.all(
    Array.from({ length: keys.partitions }, async (_, p) => {
      const [positions, entries] = await Promise.all([redis.hgetall(keys.positions(p)), redis.xlen(keys.log(p))]);
      const behind = await Promise.all(
        logRoles.map(async (role) => {
          const after = positions[role] ?? ZERO;
          const waiting = await redis.xrange(keys.log(p), `(${after}`, '+', 'COUNT', countAtMost + 1);
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
  ];
}

const counted = (n: number): string | number => (n > countAtMost ? `over ${countAtMost}` : n);
