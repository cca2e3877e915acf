/**
 * People who write to each other, and the ledger of it. What they do follows from the seed; when, from how many writes a
 * second are due, whatever the answers take (an open loop). Invariant: every write, read and change stands in the journal
 * before it leaves.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { clientIdOf, Journal, textOf, type Verb } from '../ledger/journal.ts';
import type { Head } from '../ledger/losses.ts';
import { Random } from '../random.ts';
import { Cast } from './cast.ts';
import type { Device } from './device.ts';
import { insist } from './insist.ts';
import type { ConnectedDevice, CrowdPlan, CrowdState } from './orders.ts';

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
  #cast = new Cast();
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
    this.#cast = await Cast.gather(this.#plan, this.#journal, this.#random, () => {
      this.#heardAt = performance.now();
    });
  }

  async go(perSecond: number): Promise<void> {
    const started = performance.now();
    let done = 0;
    const every = (ms: number, what: () => void) => void this.#timers.push(setInterval(what, ms));
    every(TICK_MS, () => {
      const due = ((performance.now() - started) / 1000) * perSecond;
      for (; done < due; done++) this.#act();
    });
    for (const device of this.#cast.sleepers) this.#leaves(device, LONG_MS);
    every(CHANGE_EVERY_MS, () => this.#changeMember());
    every(LEAVE_EVERY_MS, () => this.#someoneLeaves());
  }

  async phase(name: string): Promise<void> {
    this.#journal.write(['phase', this.#journal.now, name]);
  }

  async outage(partitions: readonly number[] | null): Promise<void> {
    this.#journal.write(['outage', this.#journal.now, partitions]);
  }

  get channels(): string[] {
    return [...this.#cast.places.keys()];
  }

  async losing(heads: readonly Head[]): Promise<void> {
    this.#journal.write(['losing', this.#journal.now, heads]);
  }

  async lost(): Promise<void> {
    this.#journal.write(['lost', this.#journal.now]);
  }

  async pushed(user: string, id: string, count: number, agoMs: number): Promise<void> {
    this.#journal.write(['pushed', this.#journal.now - Math.round(agoMs), user, id, count]);
  }

  async rewound(partitions: readonly number[], withinMs: number): Promise<void> {
    const { now } = this.#journal;
    this.#journal.write(['rewound', now, Math.max(0, now - withinMs), partitions]);
  }

  get state(): CrowdState {
    const sum = (of: (device: Device) => number) => this.#cast.devices.reduce((total, device) => total + of(device), 0);
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

  get connected(): ConnectedDevice[] {
    const there = this.#cast.devices.filter(({ away, client }) => !away && client.state === 'live');
    return there.map(({ user, name }) => ({ user, name }));
  }

  #act(): void {
    const { small, large, http, edit, delete: remove } = SHARE;
    const dice = this.#random.below(1000);
    if (dice < edit + remove) {
      const device = this.#random.pick(this.#cast.devices);
      const at = this.#random.below(device.own.length);
      const own = device.own[at];
      if (own && !device.away) {
        if (dice >= edit) device.own.splice(at, 1);
        this.#write(dice < edit ? 'edit' : 'delete', own.channel, device, own.seq);
        return;
      }
    }
    const kind = dice >= 1000 - large ? 'large' : dice >= 1000 - large - small ? 'small' : 'direct';
    const place = this.#random.pick(this.#cast.byKind.get(kind) ?? this.#cast.byKind.get('direct')!);
    const user = this.#random.pick(place.members);
    const device = this.#random.pick(this.#cast.devicesOf.get(user)!);
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
      this.#cast.wrote(channel, device.user, seq);
      device.own.push({ channel, seq });
      if (device.own.length > OWN_KEPT) device.own.shift();
    });
  }

  /** Over HTTP: all devices of the user are to show it, too. */
  #post(channel: string, user: string): void {
    const n = ++this.#n;
    this.#note(n, 'send', channel, user, -1, 0);
    const post = () => this.#cast.apis.get(user)!.post({ channel, content: textOf(n), client_id: clientIdOf(n) });
    this.#await(n, insist(post), ({ seq }) => {
      this.#heardAt = performance.now();
      this.#cast.seen(channel, seq);
      this.#cast.wrote(channel, user, seq);
    });
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
    const { channel, guest, members } = this.#random.pick(
      this.#cast.byKind.get('small') ?? [...this.#cast.places.values()],
    );
    if (!guest || guest.busy) return;
    const api = this.#cast.apis.get(members[0]!)!;
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
    const device = this.#random.pick(this.#cast.devices);
    if (!device.free) return;
    this.#leaves(device, this.#random.below(LONG_ONE_IN) === 0 ? LONG_MS : this.#random.between(200, 6_000));
  }

  #leaves(device: Device, ms: number): void {
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
      // What is waited for is that nothing happens, and of that there is no event.
      if (quietMs > (missing.length === 0 ? QUIET_MS : withinMs)) return missing.slice(0, 20);
      await sleep(100);
    }
  }

  #missing(): string[] {
    const missing = this.#cast.missing();
    if (this.#pending > 0) missing.unshift(`${this.#pending} writes are not accepted`);
    if (this.#changing > 0) missing.unshift(`${this.#changing} changes of members are not done`);
    return missing;
  }

  async lastWords(withinMs: number): Promise<void> {
    for (const { channel, members } of this.#cast.places.values()) {
      for (const user of members) this.#write('send', channel, this.#random.pick(this.#cast.devicesOf.get(user)!), 0);
    }
    await this.settle(withinMs);
    await this.#lookAround(withinMs);
  }

  /** Ticks and presence take a moment more than messages. */
  async #lookAround(withinMs: number): Promise<void> {
    for (const deadline = performance.now() + withinMs; ; await sleep(200)) {
      const screens = this.#cast.devices.map((device) =>
        device.screen(
          (channel) => this.#cast.places.get(channel)!.own.get(device.user) ?? 0,
          (channel, seq) => this.#cast.readByOther(channel, device.user) >= seq,
        ),
      );
      // The library has no event for a tick.
      if (!screens.every(({ final }) => final) && performance.now() < deadline) continue;
      for (const { entries } of screens) for (const entry of entries) this.#journal.write(entry);
      return;
    }
  }

  async leave(): Promise<void> {
    await Promise.all(this.#cast.devices.map(({ client }) => client.close({ timeoutMs: 1 })));
    await this.#journal.close();
  }
}
