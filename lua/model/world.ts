/**
 * Everybody who calls the scripts, and the ledger of what was promised: senders, two workers, devices with their sessions.
 * A world is one schedule's; `settle` lets everything come to rest, and `verdict.ts` judges it.
 */
import { Device } from './device.ts';
import type { Mutant } from './mutants.ts';
import { type Schedule, type Step, WORKERS } from './schedule.ts';
import {
  CAROL,
  CHANNELS,
  DEVICES,
  DIRECT,
  type Entry,
  GROUP,
  HOME_OF_CHANNEL,
  HOME_OF_USER,
  IDS_PER_TICK,
  NEVER,
  PARTITIONS,
  USERS,
} from './state.ts';
import { type OnCall, Store } from './store.ts';
import { Worker } from './worker.ts';

/** Of one client id. */
export interface Sent {
  readonly clientId: number;
  /** Told to the sender: seq and message, each time. */
  readonly accepted: { seq: number; message: number }[];
}

export class World {
  readonly store: Store;
  readonly replicas: boolean;
  readonly devices: Device[] = [];
  readonly sent: Sent[] = [];
  /** Message → the tick of its append. */
  readonly appendedAt: number[] = [];
  /** Messages that a failover took: without ACK_REPLICAS the dead primary's tail. */
  readonly lost = new Set<number>();
  /** By user and channel. */
  readonly #latest: (Sent | undefined)[][] = USERS.map(() => CHANNELS.map(() => undefined));
  readonly #workers: Worker[];
  readonly #floors = [NEVER, NEVER];
  #sessions = 0;

  constructor({ replicas }: Pick<Schedule, 'replicas'>, mutant?: Mutant, onCall?: OnCall) {
    this.store = new Store(mutant, onCall);
    this.replicas = replicas;
    for (const user of USERS)
      for (let d = 0; d < DEVICES[user]!; d++) this.devices.push(new Device(this.store, user, d));
    this.#message();
    this.store.create(0);
    for (let p = 0; p < PARTITIONS; p++) this.store.replicate(p);
    this.#workers = Array.from({ length: WORKERS }, () => this.#newWorker());
  }

  #newWorker(): Worker {
    return new Worker(this.store, this.replicas);
  }

  #message(): number {
    return this.appendedAt.push(this.store.now + 1) - 1;
  }

  device(user: number, index: number): Device {
    return this.devices.find((d) => d.user === user && d.index === index)!;
  }

  step(s: Step): void {
    switch (s.do) {
      case 'send':
        this.#send(s.user, s.device, s.channel, s.repeat, s.answered);
        break;
      case 'member':
        if (this.store.member(s.user, s.add, this.appendedAt.length)) this.#message();
        // Durable only when WAIT says so; nobody is told of more than of the event.
        if (this.replicas && s.answered) this.store.replicate(HOME_OF_CHANNEL[GROUP]!);
        break;
      case 'read log':
        this.#workers[s.worker]!.read(s.nth, s.count);
        break;
      case 'deliver':
        this.#workers[s.worker]!.send(s.nth, s.outcome);
        break;
      case 'check cursors':
        this.#workers[s.worker]!.check();
        break;
      case 'take over':
        this.#workers[s.worker] = this.#newWorker();
        break;
      case 'advance':
        this.store.advance(s.source, this.#workers[s.worker]!.position(s.source), s.keepTail);
        break;
      case 'replicate':
        this.store.replicate(s.partition);
        break;
      case 'failover':
        this.#failover(s.partition);
        break;
      case 'connect':
        this.#connect(this.device(s.user, s.device), s.since);
        break;
      case 'close':
        this.device(s.user, s.device).close();
        break;
      case 'kill gateway':
        this.device(s.user, s.device).kill();
        break;
      case 'read inbox':
        this.device(s.user, s.device).read(s.count);
        break;
      case 'ack':
        this.device(s.user, s.device).ack(s.killed);
        break;
      case 'assert':
        this.device(s.user, s.device).assert();
        break;
      case 'renew lease':
        this.#renew(s.partition);
        break;
      case 'week':
        this.#week(s.user, s.expire);
        break;
    }
  }

  #send(user: number, via: number, channel: number, repeat: boolean, answered: boolean): void {
    if (channel === DIRECT && user === CAROL) return;
    let sent = repeat ? this.#latest[user]![channel] : undefined;
    if (!sent) {
      sent = { clientId: this.sent.length, accepted: [] };
      this.sent.push(sent);
      this.#latest[user]![channel] = sent;
    }
    const reply = this.store.append(user, via, channel, sent.clientId, this.appendedAt.length);
    if (reply === 'not_found') return;
    if (!reply.duplicate) this.#message();
    if (!answered) return;
    if (this.replicas && !this.store.breaks('accepted-unreplicated')) this.store.replicate(HOME_OF_CHANNEL[channel]!);
    sent.accepted.push(reply);
  }

  #failover(partition: number): void {
    for (const { message } of this.store.failover(partition)) this.lost.add(message);
    for (const worker of this.#workers) worker.reconnect();
    for (const device of this.devices) if (HOME_OF_USER[device.user] === partition) device.doubt();
  }

  #connect(device: Device, since: 'own' | 'none' | 'future'): void {
    const future = (this.store.now + 1000) * IDS_PER_TICK;
    const own = device.offset === NEVER ? undefined : device.offset;
    device.connect(++this.#sessions, since === 'own' ? own : since === 'none' ? undefined : future);
  }

  #renew(partition: number): void {
    const { floor } = this.store.nodes[partition]!;
    if (floor === this.#floors[partition]) return;
    this.#floors[partition] = floor;
    for (const device of this.devices) if (HOME_OF_USER[device.user] === partition) device.doubt();
  }

  #week(user: number, expire: boolean): void {
    for (const device of this.devices) {
      if (device.user !== user) continue;
      device.close();
      // Of gateways that died: the reaper.
      const left = this.store.nodeOf(user).users[user]!.sessions[device.index];
      if (left !== undefined) this.store.detach(user, device.index, left);
    }
    this.store.week(user, expire);
  }

  /** No more faults: everything is delivered, and every device that ever said hello reads and acks all. */
  settle(): void {
    for (let p = 0; p < PARTITIONS; p++) this.store.replicate(p);
    // One that has been there for long ends what it has begun; one that is new finds nothing left to do.
    for (const worker of [this.#workers[0]!, this.#newWorker()]) this.#drain(worker);
    for (let p = 0; p < PARTITIONS; p++) this.#renew(p);
    for (const device of this.devices) {
      device.assert();
      if (device.since === NEVER) continue;
      if (!device.session) this.#connect(device, 'own');
      for (let reads = 0; reads < 10 && device.read(3); reads++);
      device.ack(false);
    }
    for (const user of USERS) this.#lookAtList(user);
  }

  /** GET /conversations. */
  #lookAtList(user: number): void {
    const { users, floor } = this.store.nodeOf(user);
    if (users[user]!.floor < floor) this.store.restore(user);
  }

  #drain(worker: Worker): void {
    for (let round = 0; round < 100; round++) {
      worker.check();
      if (!worker.send(0, 'ok') && !worker.read(0, 3)) return;
    }
  }

  /** The log as it is now, trimmed or not: what the archive has. */
  history(channel: number): Entry[] {
    return this.store.nodeOfChannel(channel).log.filter((e) => e.channel === channel);
  }
}
