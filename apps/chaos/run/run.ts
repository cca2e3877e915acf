/** A run: people write to each other, faults happen, everything settles, and the ledger is judged. */
import { copyFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { type Archive, openArchive } from '../../../lib/archive/index.ts';
import { MillraceApi } from '../../../lib/client/index.ts';
import { keyspace } from '../../../lib/keyspace/index.ts';
import { baseOf } from '../../../lib/rebuild/channel.ts';
import { temporaryFolder } from '../../../ops/reaper.ts';
import { CrowdProcess } from '../crowd/handle.ts';
import type { Fault } from '../faults/index.ts';
import { holdersIn, rewound } from '../faults/nodes.ts';
import type { Head } from '../ledger/losses.ts';
import { judge, type Verdict } from '../ledger/verdict.ts';
import { Random } from '../random.ts';
import { type ArchiveKind, Arena, type Earlier, type Fuzz, PARTITIONS } from './arena.ts';
import { type Curve, MemoryWatch } from './memory.ts';
import { mixOf, planOf } from './plan.ts';
import type { Topology } from './store.ts';

export interface RunOptions {
  faults: readonly Fault[];
  topology: Topology;
  archive: ArchiveKind;
  seconds: number;
  /** Goes on, beyond the seconds, until so many are accepted. */
  messages?: number;
  /** Each fault alone goes on until so many are accepted in its time, however long that takes; with 0 there are mixes only. */
  messagesEach?: number;
  perSecond: number;
  users: number;
  seed: number;
  /** For Node itself, in every process of the deployment and in the crowd's. */
  nodeArgs?: readonly string[];
  /** The folder whose sources run and are judged: a mutant's; this repository without it. */
  root?: string;
  /** Sources of an earlier version, for `two-versions`. */
  earlier?: Earlier;
  /** Of one strike of `fuzz`. */
  fuzz?: Fuzz;
  env?: Record<string, string>;
  /** After the last write: how long nothing may come before what is missing counts as lost. */
  settleMs: number;
  processesPerRole: number;
  progressEveryMs: number;
  /** Watches the memory of the processes and of Redis. */
  memory?: boolean;
  say: (line: string) => void;
}

export interface Outcome {
  verdict: Verdict;
  seconds: number;
  settledMs: number;
  /** What each strike did, in order. */
  strikes: { fault: string; phase: string; atS: number; did: string }[];
  /** From when people began to write until they ended, when it was asked for. */
  memory?: readonly Curve[];
  /** Where the ledger was kept, when a promise broke. */
  ledger?: string;
}

/** Devices behind the proxy that `slow-reader` chokes. */
const SLOW_SHARE = 1 / 8;
const LAST_WORDS_MS = 30_000;
export const MIXED = 'mixed';
const { partitionOf } = keyspace(PARTITIONS);

export async function run(options: RunOptions): Promise<Outcome> {
  const env = Object.assign({}, ...options.faults.map((fault) => fault.env ?? {}), options.env) as Record<
    string,
    string
  >;
  const users = Array.from({ length: options.users }, (_, i) => `user-${String(i).padStart(3, '0')}`);
  const needs = new Set(options.faults.flatMap((fault) => fault.needs ?? []));
  const crowd = new CrowdProcess(options);
  const onOutage = (partitions: readonly number[] | null) => crowd.obey({ order: 'outage', partitions });
  const onLoss = async (lose: () => Promise<unknown>) => {
    const channels = await crowd.obey({ order: 'channels' });
    const heads = await withArchive(arena, (archive) =>
      Promise.all(
        channels.map(async (channel): Promise<Head> => {
          const [seq, losses] = await Promise.all([archive.lastSeq(channel), archive.losses(partitionOf(channel))]);
          return [channel, seq, baseOf(seq, losses + 1)];
        }),
      ),
    );
    await crowd.obey({ order: 'losing', heads });
    await lose();
    await crowd.obey({ order: 'lost' });
  };
  const whoIsConnected = () => crowd.obey({ order: 'connected' });
  const arena: Arena = await Arena.start({ ...options, env, needs, onOutage, onLoss, whoIsConnected }).catch(
    (error) => {
      crowd.stop();
      throw error;
    },
  );
  arena.fcm.heard = ({ at, message: { data } }) => {
    const { user = '', id = '', count } = data ?? {};
    if (!users.includes(user)) return; // one of those who send what no client sends
    const pushed = { user, id, count: Number(count), agoMs: performance.now() - at };
    void crowd.obey({ order: 'pushed', ...pushed }).catch(() => undefined); // the run is over, or ends by the crowd's end
  };
  const file = join(temporaryFolder('ledger'), 'ledger.jsonl');
  try {
    await crowd.obey({
      order: 'gather',
      plan: {
        seed: options.seed,
        urls: [arena.clients, arena.slowClients].map(({ address }) => `http://${address}`),
        slowShare: SLOW_SHARE,
        people: users.map((user) => ({ user, token: arena.token(user) })),
        file,
      },
    });
    const season = new Season(options, arena, crowd);
    const watch = options.memory ? new MemoryWatch(arena) : undefined;
    await season.run().finally(() => watch?.stop());
    const settling = performance.now();
    options.say('no more writes; waiting until all is accepted and shown');
    const missing = await crowd.obey({ order: 'settle', withinMs: options.settleMs });
    const settledMs = performance.now() - settling;
    for (const line of missing.slice(0, 5)) options.say(`still missing: ${line}`);
    await crowd.obey({ order: 'lastWords', withinMs: Math.min(LAST_WORDS_MS, options.settleMs) });

    options.say('judging the ledger');
    const api = (user: string) =>
      new MillraceApi({ url: `http://${arena.clients.address}`, token: async () => arena.token(user) });
    await crowd.obey({ order: 'leave' });
    const verdict = await withArchive(arena, (archive) =>
      judge({
        ...{ file, archive, api, partitions: PARTITIONS, withinMs: options.settleMs },
      }),
    );
    for (const line of arena.complaints()) verdict.findings.add('complaints', line);
    const outcome: Outcome = {
      ...{ verdict, seconds: season.seconds, settledMs, strikes: season.strikes },
      ...(watch ? { memory: watch.curves } : {}),
    };
    if (verdict.findings.broken.length === 0) return outcome;
    const ledger = join(tmpdir(), `millrace-chaos-${options.seed}.jsonl`);
    copyFileSync(file, ledger);
    return { ...outcome, ledger };
  } finally {
    crowd.stop();
    await arena.stop();
  }
}

async function withArchive<T>({ archiveUrl }: Arena, use: (archive: Archive) => Promise<T>): Promise<T> {
  const archive = await openArchive(archiveUrl, { logger: pino({ level: 'silent' }) });
  try {
    return await use(archive);
  } finally {
    await archive.close();
  }
}

/** The time in which faults happen. */
class Season {
  readonly strikes: Outcome['strikes'] = [];
  readonly #options: RunOptions;
  readonly #arena: Arena;
  readonly #crowd: CrowdProcess;
  readonly #random: Random;
  #started = 0;
  #accepted = 0;
  #phase = 'none';

  constructor(options: RunOptions, arena: Arena, crowd: CrowdProcess) {
    this.#options = options;
    this.#arena = arena;
    this.#crowd = crowd;
    this.#random = new Random(options.seed);
  }

  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  async run(): Promise<void> {
    const { faults, perSecond, progressEveryMs } = this.#options;
    const plan = planOf(this.#options);
    this.#started = performance.now();
    await this.#crowd.obey({ order: 'go', perSecond });
    const progress = setInterval(() => void this.#progress().catch(() => undefined), progressEveryMs);
    try {
      await sleep(plan.calmS * 1000);
      for (const fault of plan.alone) await this.#alone(fault, plan);
      while (await this.#goesOn()) {
        if (faults.length > 1) await this.#mix();
        else if (faults[0]) await this.#alone(faults[0]);
        else await sleep(200); // the pace at which it is asked whether the time is over
      }
    } finally {
      clearInterval(progress);
    }
  }

  async #goesOn(): Promise<boolean> {
    await this.#look();
    return this.seconds < this.#options.seconds || this.#accepted < (this.#options.messages ?? 0);
  }

  /** Again and again, as long as another strike fits, or too few are accepted. */
  async #alone(fault: Fault, { slotS, messages } = { slotS: 0, messages: 0 }): Promise<void> {
    await this.#enter(fault.name);
    // What waits by now is the fault's before, as in the verdict.
    const { written, refused } = await this.#look();
    const began = performance.now();
    for (let took = 0; ; ) {
      const from = performance.now();
      await this.#strike(fault, 0);
      took = Math.max(took, performance.now() - from);
      const enough = (await this.#look()).accepted - (written - refused) >= messages;
      if (enough && performance.now() - began + took > slotS * 1000) break;
    }
    await sleep(Math.max(0, slotS * 1000 - (performance.now() - began)));
  }

  async #mix(): Promise<void> {
    if (this.#phase !== MIXED) await this.#enter(MIXED);
    const mix = mixOf(this.#options.faults, this.#random);
    await Promise.all(mix.map(({ fault, afterMs }) => this.#strike(fault, afterMs)));
  }

  async #strike(fault: Fault, afterMs: number): Promise<void> {
    await sleep(afterMs);
    const atS = this.seconds;
    const from = performance.now();
    const { store } = this.#arena;
    const before = await holdersIn(store);
    const did = await fault.strike(this.#arena, this.#random);
    const partitions = rewound(before, await holdersIn(store), store);
    if (partitions.length > 0) {
      await this.#crowd.obey({ order: 'rewound', partitions, withinMs: performance.now() - from });
    }
    this.strikes.push({ fault: fault.name, phase: this.#phase, atS, did });
    this.#options.say(`${fault.name}: ${did}`);
    await sleep(fault.calmS * 1000);
  }

  async #enter(phase: string): Promise<void> {
    this.#phase = phase;
    await this.#crowd.obey({ order: 'phase', name: phase });
  }

  async #look() {
    const state = await this.#crowd.obey({ order: 'state' });
    this.#accepted = state.accepted;
    return state;
  }

  async #progress(): Promise<void> {
    const { written, accepted, refused, shown, away, cut, gaps } = await this.#look();
    const waiting = written - accepted - refused;
    this.#options.say(
      `${Math.round(this.seconds)} s, ${this.#phase}: ${accepted} accepted, ${waiting} waiting, ${shown} shown; ` +
        `${away} devices away, ${cut} cut off, ${gaps} gaps${refused > 0 ? `, ${refused} refused` : ''}`,
    );
  }
}
