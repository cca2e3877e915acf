/**
 * People who write to each other, and the ledger of it. What they do follows from the seed; when, from how many writes a
 * second are due, whatever the answers take (an open loop). Invariant: every write, read and change stands in the journal
 * before it leaves.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceApi, MillraceError } from '../../../lib/client/index.ts';
import { directChannel } from '../../../lib/protocol/ids.ts';
import { clientIdOf, Journal, textOf, type Verb } from '../ledger/journal.ts';
import { Random } from '../random.ts';
import { Device } from './device.ts';
import type { CrowdPlan, CrowdState } from './orders.ts';
import { type Draft, draftPlaces, type Place } from './places.ts';

const TICK_MS = 20;
const OWN_KEPT = 20;
/** Of all that is done, in thousandths; the rest goes into direct channels. */
const SHARE = { small: 120, large: 8, http: 60, edit: 70, delete: 30 };
const CHANGE_EVERY_MS = 700;
const LEAVE_EVERY_MS = 900;
/** One absence in so many is long: more happens meanwhile than an inbox keeps, and the device is told of a gap. */
const LONG_ONE_IN = 12;
const LONG_MS = 45_000;
/** Nothing has been shown for so long: what is missing now stays missing. */
const QUIET_MS = 1_500;

export class Crowd {
  readonly #plan: CrowdPlan;
  readonly #journal: Journal;
  readonly #random: Random;
  readonly #devices: Device[] = [];
  readonly #devicesOf = new Map<string, Device[]>();
  readonly #apis = new Map<string, MillraceApi>();
  #places = new Map<string, Place>();
  #placesOf = new Map<string, Place[]>();
  #byKind = new Map<Place['kind'], Place[]>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #returning = new Set<Promise<void>>();
  #n = 0;
  #written = 0;
  #accepted = 0;
  #refused = 0;
  #pending = 0;
  #changing = 0;
  #heardAt = 0;

  constructor(plan: CrowdPlan) {
    this.#plan = plan;
    this.#journal = new Journal(plan.file);
    this.#random = new Random(plan.seed);
  }

  async gather(): Promise<void> {
    const { people, urls, slowShare, seed } = this.#plan;
    const slow = urls.length > 1 ? urls.at(-1)! : undefined;
    const fast = urls.length > 1 ? urls.slice(0, -1) : urls;
    const drafts = draftPlaces(people.map(({ user }) => user));
    const guests = new Set(drafts.map(({ guest }) => guest?.user));
    for (const [i, { user, token }] of people.entries()) {
      const names = ['phone', ...(i % 4 === 0 ? ['laptop'] : []), ...(i % 12 === 0 ? ['tablet'] : [])];
      this.#apis.set(user, new MillraceApi({ url: fast[i % fast.length]!, token: async () => token }));
      const devices = names.map((name) => {
        const index = this.#devices.length;
        const onSlowLine = slow !== undefined && this.#random.chance(slowShare);
        const device = new Device({
          ...{ index, user, name, token },
          guest: guests.has(user),
          url: onSlowLine ? slow : fast[index % fast.length]!,
          journal: this.#journal,
          random: new Random(seed + index + 1),
          seen: (channel, seq) => this.#seen(channel, seq),
        });
        this.#devices.push(device);
        return device;
      });
      this.#devicesOf.set(user, devices);
    }
    await Promise.all(this.#devices.map(({ client }) => client.connect()));
    await this.#makePlaces(drafts);
  }

  async #makePlaces(drafts: readonly Draft[]): Promise<void> {
    for (const draft of drafts) {
      const [maker = '', ...others] = draft.members;
      let channel = directChannel(maker, others[0] ?? maker);
      if (draft.kind !== 'direct') {
        const title = `${draft.kind} group of ${maker}`;
        channel = (await this.#apis.get(maker)!.createGroup({ title, members: others })).channel;
      }
      this.#journal.write(['channel', this.#journal.now, channel, draft.members]);
      const place: Place = { ...draft, channel, last: 0, own: new Map() };
      this.#places.set(channel, place);
      for (const user of place.members) this.#placesOf.set(user, [...(this.#placesOf.get(user) ?? []), place]);
    }
    this.#byKind = Map.groupBy(this.#places.values(), ({ kind }) => kind);
    for (const device of this.#devices) {
      const direct = this.#placesOf.get(device.user)!.filter(({ kind }) => kind === 'direct');
      const users = direct.map(({ members }) => members.find((member) => member !== device.user)!);
      device.look({ users, channels: direct.map(({ channel }) => channel) });
    }
  }

  #seen(channel: string, seq: number): void {
    this.#heardAt = performance.now();
    const place = this.#places.get(channel);
    if (place && seq > place.last) place.last = seq;
  }

  async go(perSecond: number): Promise<void> {
    const started = performance.now();
    let done = 0;
    const every = (ms: number, what: () => void) => void this.#timers.push(setInterval(what, ms));
    every(TICK_MS, () => {
      const due = ((performance.now() - started) / 1000) * perSecond;
      for (; done < due; done++) this.#act();
    });
    every(CHANGE_EVERY_MS, () => this.#changeMember());
    every(LEAVE_EVERY_MS, () => this.#someoneLeaves());
  }

  async phase(name: string): Promise<void> {
    this.#journal.write(['phase', this.#journal.now, name]);
  }

  async outage(partitions: readonly number[]): Promise<void> {
    this.#journal.write(['outage', this.#journal.now, partitions]);
  }

  get channels(): string[] {
    return [...this.#places.keys()];
  }

  async losing(heads: readonly (readonly [channel: string, seq: number])[]): Promise<void> {
    this.#journal.write(['losing', this.#journal.now, heads]);
  }

  async lost(): Promise<void> {
    this.#journal.write(['lost', this.#journal.now]);
  }

  get state(): CrowdState {
    const sum = (of: (device: Device) => number) => this.#devices.reduce((total, device) => total + of(device), 0);
    return {
      written: this.#written,
      accepted: this.#accepted,
      refused: this.#refused,
      shown: sum(({ shows }) => shows),
      away: sum(({ away }) => Number(away)),
      cut: sum(({ away, client }) => Number(!away && client.state !== 'live')),
      gaps: sum(({ gaps }) => gaps),
    };
  }

  #act(): void {
    const { small, large, http, edit, delete: remove } = SHARE;
    const dice = this.#random.below(1000);
    if (dice < edit + remove) {
      const device = this.#random.pick(this.#devices);
      const at = this.#random.below(device.own.length);
      const own = device.own[at];
      if (own && !device.away) {
        if (dice >= edit) device.own.splice(at, 1);
        this.#write(dice < edit ? 'edit' : 'delete', own.channel, device, own.seq);
        return;
      }
    }
    const kind = dice >= 1000 - large ? 'large' : dice >= 1000 - large - small ? 'small' : 'direct';
    const place = this.#random.pick(this.#byKind.get(kind) ?? this.#byKind.get('direct')!);
    const user = this.#random.pick(place.members);
    const device = this.#random.pick(this.#devicesOf.get(user)!);
    if (device.away || this.#random.below(1000) < http) this.#post(place.channel, user);
    else this.#write('send', place.channel, device, 0);
  }

  #write(verb: Verb, channel: string, device: Device, target: number): void {
    const n = ++this.#n;
    this.#note(n, verb, channel, device.user, device.index, target);
    const client_id = clientIdOf(n);
    const content = textOf(n);
    const { client } = device;
    const answer =
      verb === 'send'
        ? client.send({ channel, content, client_id })
        : verb === 'edit'
          ? client.edit({ channel, seq: target, content, client_id })
          : client.delete({ channel, seq: target, client_id });
    this.#await(n, answer, ({ seq }) => {
      device.reached(channel, seq);
      if (verb !== 'send') return;
      this.#wrote(channel, device.user, seq);
      device.own.push({ channel, seq });
      if (device.own.length > OWN_KEPT) device.own.shift();
    });
  }

  /** Over HTTP: all devices of the user are to show it, too. */
  #post(channel: string, user: string): void {
    const n = ++this.#n;
    this.#note(n, 'send', channel, user, -1, 0);
    const post = () => this.#apis.get(user)!.post({ channel, content: textOf(n), client_id: clientIdOf(n) });
    this.#await(n, insist(post), ({ seq }) => {
      this.#seen(channel, seq);
      this.#wrote(channel, user, seq);
    });
  }

  #wrote(channel: string, user: string, seq: number): void {
    const { own } = this.#places.get(channel)!;
    own.set(user, Math.max(seq, own.get(user) ?? 0));
  }

  #note(n: number, verb: Verb, channel: string, user: string, device: number, target: number): void {
    this.#written++;
    this.#journal.write(['write', this.#journal.now, n, verb, channel, user, device, target]);
  }

  #await(
    n: number,
    answer: Promise<{ channel: string; seq: number; id: string }>,
    then: (accepted: { seq: number }) => void,
  ): void {
    this.#pending++;
    void answer
      .then(
        (accepted) => {
          this.#accepted++;
          this.#journal.write(['accepted', this.#journal.now, n, accepted.channel, accepted.seq, accepted.id]);
          then(accepted);
        },
        (error: unknown) => {
          this.#refused++;
          this.#journal.write(['refused', this.#journal.now, n, String(error)]);
        },
      )
      .finally(() => this.#pending--);
  }

  #changeMember(): void {
    const { channel, guest, members } = this.#random.pick(this.#byKind.get('small') ?? [...this.#places.values()]);
    if (!guest || guest.busy) return;
    const api = this.#apis.get(members[0]!)!;
    const [action, call] = guest.inside
      ? (['removed', () => api.removeMember(channel, guest.user)] as const)
      : (['added', () => api.addMember(channel, guest.user)] as const);
    const n = ++this.#n;
    this.#journal.write(['change', this.#journal.now, n, channel, guest.user, action]);
    guest.busy = true;
    this.#changing++;
    void insist(call)
      .then(
        () => {
          guest.inside = !guest.inside;
          this.#journal.write(['changed', this.#journal.now, n]);
        },
        (error: unknown) => this.#journal.write(['refused', this.#journal.now, n, String(error)]),
      )
      .finally(() => {
        guest.busy = false;
        this.#changing--;
      });
  }

  #someoneLeaves(): void {
    const device = this.#random.pick(this.#devices);
    if (!device.free) return;
    const ms = this.#random.below(LONG_ONE_IN) === 0 ? LONG_MS : this.#random.between(200, 6_000);
    const trip = this.#trip(device, ms).finally(() => this.#returning.delete(trip));
    this.#returning.add(trip);
  }

  async #trip(device: Device, ms: number): Promise<void> {
    await device.leave();
    await Promise.race([sleep(ms), this.#called.promise]);
    device.comeBack();
  }

  /** Calls those back who are away. */
  readonly #called = Promise.withResolvers<void>();

  async settle(withinMs: number): Promise<string[]> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#called.resolve();
    await Promise.all(this.#returning);
    const started = performance.now();
    for (;;) {
      const missing = this.#missing();
      const quietMs = performance.now() - Math.max(started, this.#heardAt);
      if (quietMs > (missing.length === 0 ? QUIET_MS : withinMs)) return missing.slice(0, 20);
      await sleep(100);
    }
  }

  #missing(): string[] {
    const missing: string[] = [];
    if (this.#pending > 0) missing.push(`${this.#pending} writes are not accepted`);
    if (this.#changing > 0) missing.push(`${this.#changing} changes of members are not done`);
    for (const device of this.#devices) {
      const name = `${device.user}/${device.name}`;
      if (device.client.state !== 'live') missing.push(`${name} is not connected`);
      for (const { channel, last } of this.#placesOf.get(device.user) ?? []) {
        const shown = device.shown.get(channel) ?? 0;
        if (shown < last) missing.push(`${name} has ${channel} up to ${shown} of ${last}`);
      }
    }
    return missing;
  }

  async lastWords(withinMs: number): Promise<void> {
    for (const { channel, members } of this.#places.values()) {
      for (const user of members) this.#write('send', channel, this.#random.pick(this.#devicesOf.get(user)!), 0);
    }
    await this.settle(withinMs);
    await this.#lookAround(withinMs);
  }

  /** Ticks and presence take a moment more than messages. */
  async #lookAround(withinMs: number): Promise<void> {
    for (const deadline = performance.now() + withinMs; ; await sleep(200)) {
      const screens = this.#devices.map((device) =>
        device.screen(
          (channel) => this.#places.get(channel)!.own.get(device.user) ?? 0,
          (channel, seq) => this.#readByOther(channel, device.user) >= seq,
        ),
      );
      if (!screens.every(({ final }) => final) && performance.now() < deadline) continue;
      for (const { entries } of screens) for (const entry of entries) this.#journal.write(entry);
      return;
    }
  }

  #readByOther(channel: string, user: string): number {
    const { members, own } = this.#places.get(channel)!;
    const other = members.find((member) => member !== user)!;
    return Math.max(own.get(other) ?? 0, ...this.#devicesOf.get(other)!.map((device) => device.hasRead(channel)));
  }

  async leave(): Promise<void> {
    await Promise.all(this.#devices.map(({ client }) => client.close({ timeoutMs: 1 })));
    await this.#journal.close();
  }
}

/** Until it works, or is refused for good. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (let waitMs = 100; ; waitMs = Math.min(2_000, waitMs * 2)) {
    try {
      return await call();
    } catch (error) {
      const passing = error instanceof MillraceError && ['unavailable', 'rate_limited'].includes(error.code);
      if (!passing) throw error;
      await sleep(waitMs);
    }
  }
}
