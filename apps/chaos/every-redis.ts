/**
 * People on two gateways, over any Redis: two real processes with all roles each, and Firebase’s stand-in. The limits are
 * those of a deployment: whoever goes too fast here is refused as people would be.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Keyspace, keyspace } from '../../lib/keyspace/index.ts';
import type { ChannelInfo, Receipts } from '../../lib/protocol/http.ts';
import { Deployment, type MillraceProcess, UNHURRIED } from '../../ops/deployment.ts';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { until } from '../../ops/until.ts';
import { type Frame, RawSession } from './raw-session.ts';

/** Whatever Millrace may be pointed at. */
export interface Store {
  readonly url: string;
  stop(): Promise<void>;
}

/** An empty variable is one that is not set. */
const DEFAULT_LIMITS = Object.fromEntries(Object.keys(UNHURRIED).map((name) => [name, '']));

export class People<S extends Store = Store> {
  readonly redis: S;
  readonly fcm: FcmStandIn;
  readonly deployment: Deployment;
  readonly keys: Keyspace = keyspace(16);
  gateways: readonly MillraceProcess[] = [];
  readonly #folder = temporaryFolder('people');
  #sent = 0;
  #types = false;

  private constructor(redis: S, fcm: FcmStandIn) {
    this.redis = redis;
    this.fcm = fcm;
    this.deployment = new Deployment({
      redisUrl: redis.url,
      archiveUrl: `sqlite:${join(this.#folder, 'archive.sqlite')}`,
      env: { PARTITIONS: '16', ...DEFAULT_LIMITS, ...fcm.env },
    });
  }

  static async on<S extends Store>(starting: Promise<S>): Promise<People<S>> {
    const [redis, fcm] = await Promise.all([starting, FcmStandIn.start()]);
    const people = new People(redis, fcm);
    const all = () => people.deployment.start('gateway', 'fanout', 'archiver', 'presence', 'pusher');
    people.gateways = [await all(), await all()];
    return people;
  }

  gateway(i: number): MillraceProcess {
    return this.gateways[i]!;
  }

  /** A session that is live. */
  start(user: string, gateway: number, device = 'phone'): Promise<RawSession> {
    return RawSession.start(this.deployment, this.gateway(gateway), user, { device });
  }

  /** Sends, and resolves with `accepted`. */
  async say(session: RawSession, target: { to: string } | { channel: string }, content = 'hello'): Promise<Frame> {
    const client_id = `c${this.#sent++}`;
    session.send({ type: 'send', client_id, content, ...target });
    return session.next('accepted', { client_id });
  }

  /**
   * Types, on and off, until the other is told of the state, and resolves with what it was told: typing may be dropped, by
   * a process under pressure or while nobody is subscribed.
   */
  async type(from: RawSession, to: RawSession, channel: string, withinMs = 15_000): Promise<Frame> {
    const seen = new Set(to.frames);
    const told = () => to.of('typing').find((frame) => !seen.has(frame) && frame.channel === channel);
    let saidAt = Number.NEGATIVE_INFINITY;
    await until(`typing in ${channel} arrives`, withinMs, () => {
      if (told()) return true;
      if (performance.now() - saidAt > 400) {
        saidAt = performance.now();
        this.#types = !this.#types;
        from.send({ type: 'typing', channel, on: this.#types });
      }
      return false;
    });
    return told()!;
  }

  /** What an HTTP call answers; throws with its status. */
  async call<T>(user: string, line: string, body?: unknown, { gateway = 0, admin = false } = {}): Promise<T> {
    const [method = '', path = ''] = line.split(' ');
    const response = await fetch(this.gateway(gateway).address + path, {
      method,
      headers: {
        authorization: `Bearer ${this.deployment.token(user, { admin })}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${line}: ${response.status} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  async group(by: string, members: readonly string[]): Promise<string> {
    return (await this.call<ChannelInfo>(by, 'POST /v1/channels', { members })).channel;
  }

  async receipts(user: string, channel: string, gateway = 0): Promise<Receipts['receipts']> {
    const path = `/v1/channels/${channel}/receipts`;
    return (await this.call<Receipts>(user, `GET ${path}`, undefined, { gateway })).receipts;
  }

  /** What the processes logged that nothing may ever cause. */
  complaints(): string[] {
    return [...this.deployment.processes]
      .flatMap((process) => process.log)
      .filter((line) => /"level":(50|60)|unexpected failure|unhandled|CROSSSLOT/i.test(line));
  }

  async stop(): Promise<void> {
    await this.deployment.stop();
    await this.fcm.stop();
    await this.redis.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
