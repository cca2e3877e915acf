/** Who takes part in a run: people, their devices, and the channels into which they write. */
import { MillraceApi } from '../../../lib/client/index.ts';
import { directChannel } from '../../../lib/protocol/ids.ts';
import type { Journal } from '../ledger/journal.ts';
import { Random } from '../random.ts';
import { Device } from './device.ts';
import type { CrowdPlan } from './orders.ts';
import { type Draft, draftPlaces, type Place } from './places.ts';

/** One user in so many has a push token, for their phone. */
const TOKEN_ONE_IN = 3;
const SLEEPERS = 2;

export class Cast {
  readonly devices: Device[] = [];
  readonly devicesOf = new Map<string, Device[]>();
  /** user → their HTTP. */
  readonly apis = new Map<string, MillraceApi>();
  readonly places = new Map<string, Place>();
  readonly placesOf = new Map<string, Place[]>();
  /** Devices that are away from the start: the only ones of their users, with a push token. */
  readonly sleepers: Device[] = [];
  byKind = new Map<Place['kind'], Place[]>();

  /** Everybody connected, and every channel made. `heard`: something was shown. */
  static async gather(plan: CrowdPlan, journal: Journal, random: Random, heard: () => void): Promise<Cast> {
    const cast = new Cast();
    const drafts = draftPlaces(plan.people.map(({ user }) => user));
    const guests = new Set(drafts.map(({ guest }) => guest?.user));
    const { people, urls, slowShare, seed } = plan;
    const slow = urls.length > 1 ? urls.at(-1)! : undefined;
    const fast = urls.length > 1 ? urls.slice(0, -1) : urls;
    for (const [i, { user, token }] of people.entries()) {
      const names = ['phone', ...(i % 4 === 0 ? ['laptop'] : []), ...(i % 12 === 0 ? ['tablet'] : [])];
      cast.apis.set(user, new MillraceApi({ url: fast[i % fast.length]!, token: async () => token }));
      const devices = names.map((name) => {
        const index = cast.devices.length;
        const onSlowLine = slow !== undefined && random.chance(slowShare);
        const device = new Device({
          ...{ index, user, name, token, journal },
          guest: guests.has(user),
          url: onSlowLine ? slow : fast[index % fast.length]!,
          random: new Random(seed + index + 1),
          seen: (channel, seq) => {
            heard();
            cast.seen(channel, seq);
          },
        });
        cast.devices.push(device);
        return device;
      });
      cast.devicesOf.set(user, devices);
    }
    await Promise.all(cast.devices.map(({ client }) => client.connect()));
    await cast.#makePlaces(drafts, journal);
    await cast.#registerTokens(plan, journal);
    return cast;
  }

  async #makePlaces(drafts: readonly Draft[], journal: Journal): Promise<void> {
    for (const draft of drafts) {
      const [maker = '', ...others] = draft.members;
      let channel = directChannel(maker, others[0] ?? maker);
      if (draft.kind !== 'direct') {
        const title = `${draft.kind} group of ${maker}`;
        channel = (await this.apis.get(maker)!.createGroup({ title, members: others })).channel;
      }
      journal.write(['channel', journal.now, channel, draft.members]);
      const place: Place = { ...draft, channel, last: 0, own: new Map() };
      this.places.set(channel, place);
      for (const user of place.members) this.placesOf.set(user, [...(this.placesOf.get(user) ?? []), place]);
    }
    this.byKind = Map.groupBy(this.places.values(), ({ kind }) => kind);
    for (const device of this.devices) {
      const direct = this.placesOf.get(device.user)!.filter(({ kind }) => kind === 'direct');
      const users = direct.map(({ members }) => members.find((member) => member !== device.user)!);
      device.look({ users, channels: direct.map(({ channel }) => channel) });
    }
  }

  async #registerTokens({ people, urls }: CrowdPlan, journal: Journal): Promise<void> {
    for (const [i, { user, token }] of people.entries()) {
      if (i % TOKEN_ONE_IN !== 0) continue;
      const [phone, ...others] = this.devicesOf.get(user)!;
      const response = await fetch(`${urls[0]}/v1/devices/${phone!.name}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ platform: 'android', push_token: `token-of-${user}` }),
      });
      if (response.status !== 204) throw new Error(`the push token of ${user}: ${response.status}`);
      journal.write(['token', journal.now, phone!.index]);
      if (others.length === 0 && this.sleepers.length < SLEEPERS) this.sleepers.push(phone!);
    }
  }

  /** Somebody knows of it. */
  seen(channel: string, seq: number): void {
    const place = this.places.get(channel);
    if (place && seq > place.last) place.last = seq;
  }

  /** A user's own message. */
  wrote(channel: string, user: string, seq: number): void {
    const { own } = this.places.get(channel)!;
    own.set(user, Math.max(seq, own.get(user) ?? 0));
  }

  /** Up to where the other one of a direct channel has read it. */
  readByOther(channel: string, user: string): number {
    const { members, own } = this.places.get(channel)!;
    const other = members.find((member) => member !== user)!;
    return Math.max(own.get(other) ?? 0, ...this.devicesOf.get(other)!.map((device) => device.hasRead(channel)));
  }

  /** Devices that are not connected, or have not shown what there is. */
  missing(): string[] {
    const missing: string[] = [];
    for (const device of this.devices) {
      const name = `${device.user}/${device.name}`;
      if (device.client.state !== 'live') missing.push(`${name} is not connected`);
      for (const { channel, last } of this.placesOf.get(device.user) ?? []) {
        const shown = device.shown.get(channel) ?? 0;
        if (shown < last) missing.push(`${name} has ${channel} up to ${shown} of ${last}`);
      }
    }
    return missing;
  }
}
