/** What was promised, checked on a world that has come to rest. Returns the first promise that does not hold. */
import type { Device } from './device.ts';
import { CHANNELS, DIRECT, type Entry, GROUP, HOME_OF_CHANNEL, HOME_OF_USER, USERS } from './state.ts';
import type { World } from './world.ts';

const text = (e: Entry) => `message ${e.message} (${e.kind} by ${e.from}, channel ${e.channel}, seq ${e.seq})`;

export function verdict(world: World): string | undefined {
  return repeats(world) ?? sequences(world) ?? forDevices(world) ?? marks(world) ?? receipts(world);
}

/** One client id, one message: the same answer each time; accepted: in the log, for good. */
function repeats(world: World): string | undefined {
  const stored = new Set(CHANNELS.flatMap((c) => world.history(c).map((e) => e.message)));
  for (const { clientId, accepted } of world.sent) {
    const kept = accepted.filter((a) => world.replicas || !world.lost.has(a.message));
    const [first] = kept;
    if (!first) continue;
    if (kept.some((a) => a.message !== first.message || a.seq !== first.seq))
      return `client id ${clientId} made two messages`;
    if (!stored.has(first.message)) return `message ${first.message} was accepted and is gone`;
  }
  return undefined;
}

/** 1, 2, 3 … in what is stored; and no seq is ever seen with another message, unless a tail may be lost. */
function sequences(world: World): string | undefined {
  for (const channel of CHANNELS) {
    const history = world.history(channel);
    for (const [i, e] of history.entries()) if (e.seq !== i + 1) return `${text(e)} is number ${i + 1} of its channel`;
    if (!world.replicas) continue;
    for (const device of world.devices) {
      for (const { entry } of device.shown) {
        if (entry.channel !== channel || history[entry.seq - 1]?.message === entry.message) continue;
        return `${text(entry)} was shown to ${name(device)}, and is not what is stored`;
      }
    }
  }
  return undefined;
}

const name = (device: Device) => `device ${device.index} of user ${device.user}`;

function forDevices(world: World): string | undefined {
  const members = world.store.nodeOfChannel(GROUP).channels[GROUP]!.members;
  for (const device of world.devices) {
    const { user, twice, shown, has, covered, since } = device;
    if (twice) return `${text(twice)} came to ${name(device)} twice in a session`;
    const last = [0, 0];
    const putBack = world.store.failovers[HOME_OF_USER[user]!]! > 0;
    for (const { entry, covered: known } of shown) {
      if (known || world.lost.has(entry.message)) continue;
      // A failover brings again what was delivered before the device was there, or was its own and for no other device then.
      const own = entry.from === user && entry.via === device.index;
      if (putBack && (own || world.appendedAt[entry.message]! <= since)) continue;
      if (entry.seq < last[entry.channel]!)
        return `${text(entry)} was shown to ${name(device)} after seq ${last[entry.channel]}`;
      last[entry.channel] = entry.seq;
    }
    for (const { entry } of shown) {
      if (world.lost.has(entry.message) || isFor(user, entry, members)) continue;
      return `${text(entry)} was shown to ${name(device)}, who is no member`;
    }
    if (since < 0) continue;
    for (const channel of CHANNELS) {
      for (const entry of world.history(channel)) {
        if (has.has(entry.message) || entry.seq <= covered[channel]! || world.appendedAt[entry.message]! <= since)
          continue;
        if (!isFor(user, entry, members) || (entry.from === user && entry.via === device.index)) continue;
        return `${text(entry)} never came to ${name(device)}, and no gap was told`;
      }
    }
  }
  return undefined;
}

type Members = World['store']['nodes'][0]['channels'][0] extends infer C
  ? C extends { members: infer M }
    ? M
    : never
  : never;

function isFor(user: number, { channel, seq }: Entry, members: Members): boolean {
  if (channel === DIRECT) return user < 2;
  return members[user]!.some((i) => i.joined <= seq && seq <= i.left);
}

/** The conversation list has come as far as the channel, and counts what others wrote since. */
function marks(world: World): string | undefined {
  const members = world.store.nodeOfChannel(GROUP).channels[GROUP]!.members;
  for (const channel of CHANNELS) {
    if (world.store.failovers[HOME_OF_CHANNEL[channel]!]! > 0 && !world.replicas) continue;
    const history = world.history(channel);
    for (const user of USERS) {
      const mine = history.filter((e) => isFor(user, e, members));
      const mark = world.store.nodeOf(user).users[user]!.marks[channel];
      if ((mark?.last ?? 0) !== (mine.at(-1)?.seq ?? 0))
        return `user ${user} has ${mark?.last} as the last of channel ${channel}`;
      if (!mark) continue;
      const unread = mine.filter((e) => e.kind === 'message' && e.from !== user && e.seq > mark.read).length;
      if (mark.unread !== unread)
        return `user ${user} counts ${mark.unread} unread in channel ${channel}, there are ${unread}`;
    }
  }
  return undefined;
}

/** What a device acked has been received, says its user's watermark, unless a failover took the watermark. */
function receipts(world: World): string | undefined {
  for (const channel of CHANNELS) {
    if (world.store.failovers[HOME_OF_CHANNEL[channel]!]! > 0) continue;
    const { delivered, members } = world.store.nodeOfChannel(channel).channels[channel]!;
    for (const device of world.devices) {
      const present = channel === DIRECT || members[device.user]!.at(-1)?.left === Number.POSITIVE_INFINITY;
      if (!present) continue;
      for (const entry of device.received) {
        const counts = entry.channel === channel && entry.kind === 'message' && entry.from !== device.user;
        if (counts && entry.seq > delivered[device.user]!) {
          return `${text(entry)} was acked by ${name(device)}, whose watermark is ${delivered[device.user]}`;
        }
      }
    }
  }
  return undefined;
}
