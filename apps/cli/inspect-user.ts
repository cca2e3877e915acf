/** `millrace inspect user` */
import { msOf, ZERO } from '../../lib/redis/ids.ts';
import { COUNT_AT_MOST, counted, type Looking } from './looking.ts';
import { userArgument } from './remote.ts';
import { AT_MOST, ago, type Section } from './table.ts';

export async function inspectUser({ store, keys, cli }: Looking, text: string): Promise<Section[]> {
  const id = userArgument(text);
  const redis = store.command;
  const inbox = keys.inbox(id);
  const [presence, length, oldest, newest, ttl, devices, sessions, blocks, conversations] = await Promise.all([
    redis.hgetall(keys.presence(id)),
    redis.xlen(inbox),
    redis.xrange(inbox, '-', '+', 'COUNT', 1),
    redis.xrevrange(inbox, '+', '-', 'COUNT', 1),
    redis.pttl(inbox),
    redis.hgetall(keys.devices(id)),
    redis.hgetall(keys.sessions(id)),
    redis.smembers(keys.blocks(id)),
    redis.hgetall(keys.conversations(id)),
  ]);
  // A device that only registered a token has never connected, and acked nothing.
  const known = new Set(Object.keys(devices).flatMap((field) => /^(?:device|push):(.+)$/.exec(field)?.[1] ?? []));
  // A map: devices may have the names that every object has.
  const served = new Map(Object.entries(sessions));
  const deviceRows = await Promise.all(
    [...known].map(async (device) => {
      const [acked = ZERO, seen] = devices[`device:${device}`]?.split(' ') ?? [];
      const waiting = await redis.xrange(inbox, `(${acked}`, '+', 'COUNT', COUNT_AT_MOST + 1);
      const [gateway = null] = served.get(device)?.split(' ') ?? [];
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
      title: `Presence of ${id}`,
      redisCli: `${cli} HGETALL '${keys.presence(id)}'`,
      rows: presence.status === undefined ? [] : [presenceRow(presence.status, Number(presence.since))],
    },
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
      title: 'Blocks',
      redisCli: `${cli} SMEMBERS '${keys.blocks(id)}'`,
      rows: blocks.sort().map((user) => ({ user })),
      atMost: AT_MOST,
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
      atMost: AT_MOST,
    },
  ];
}

const presenceRow = (status: string, since: number) => ({
  status,
  'online since': status === 'online' ? ago(since) : null,
  'last seen': status === 'online' ? null : ago(since),
});

/** Of the user's, among the partition's oldest: a queue that is longer than this has other troubles. */
async function wakeups({ store, keys, cli }: Looking, id: string): Promise<Section> {
  const queue = keys.push(keys.partitionOf(id));
  const entries = await store.command.xrange(queue, '-', '+', 'COUNT', COUNT_AT_MOST);
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
