/**
 * Random schedules: a list of steps as plain data, made from a seed alone, whatever the world then makes of them. A step that
 * does not apply does nothing, so any step may be left out of a schedule: that is how a failing one is shrunk.
 */
import { ALICE, BOB, CAROL, CHANNELS, DEVICES, PARTITIONS, USERS } from './state.ts';
import { OUTCOMES, type Outcome } from './worker.ts';

export const WORKERS = 2;

export type Step =
  /** `repeat`: what was sent last, with the same client id. `answered`: the sender hears of it. */
  | { do: 'send'; user: number; device: number; channel: number; repeat: boolean; answered: boolean }
  | { do: 'member'; user: number; add: boolean; answered: boolean }
  | { do: 'read log'; worker: number; nth: number; count: number }
  | { do: 'deliver'; worker: number; nth: number; outcome: Outcome }
  | { do: 'check cursors'; worker: number }
  /** Another worker takes the partitions over. */
  | { do: 'take over'; worker: number }
  | { do: 'advance'; worker: number; source: number; keepTail: boolean }
  | { do: 'replicate'; partition: number }
  | { do: 'failover'; partition: number }
  | { do: 'connect'; user: number; device: number; since: 'own' | 'none' | 'future' }
  | { do: 'close'; user: number; device: number }
  | { do: 'kill gateway'; user: number; device: number }
  | { do: 'read inbox'; user: number; device: number; count: number }
  | { do: 'ack'; user: number; device: number; killed: boolean }
  | { do: 'assert'; user: number; device: number }
  | { do: 'renew lease'; partition: number }
  | { do: 'week'; user: number; expire: boolean };

export interface Schedule {
  /** ACK_REPLICAS: nothing leaves a primary before its replica has it. */
  replicas: boolean;
  steps: Step[];
}

/** Mulberry32: small, fast, and the same everywhere. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

type Rng = ReturnType<typeof random>;
const someone = (r: Rng) => {
  const user = r(USERS.length);
  return { user, device: r(DEVICES[user]!) };
};
const pair = (r: Rng) => ({ worker: r(WORKERS), nth: r(PARTITIONS * PARTITIONS) });

const MAKERS: { [K in Step['do']]: (r: Rng) => Step } = {
  send: (r) => ({ do: 'send', ...someone(r), channel: r(CHANNELS.length), repeat: r(6) === 0, answered: r(6) !== 0 }),
  member: (r) => ({ do: 'member', user: r(2) === 0 ? BOB : CAROL, add: r(5) < 3, answered: r(3) !== 0 }),
  'read log': (r) => ({ do: 'read log', ...pair(r), count: 1 + r(3) }),
  deliver: (r) => ({ do: 'deliver', ...pair(r), outcome: r(2) === 0 ? 'ok' : OUTCOMES[r(OUTCOMES.length)]! }),
  'check cursors': (r) => ({ do: 'check cursors', worker: r(WORKERS) }),
  'take over': (r) => ({ do: 'take over', worker: r(WORKERS) }),
  advance: (r) => ({ do: 'advance', worker: r(WORKERS), source: r(PARTITIONS), keepTail: r(4) === 0 }),
  replicate: (r) => ({ do: 'replicate', partition: r(PARTITIONS) }),
  failover: (r) => ({ do: 'failover', partition: r(PARTITIONS) }),
  connect: (r) => ({ do: 'connect', ...someone(r), since: SINCE[r(SINCE.length)]! }),
  close: (r) => ({ do: 'close', ...someone(r) }),
  'kill gateway': (r) => ({ do: 'kill gateway', ...someone(r) }),
  'read inbox': (r) => ({ do: 'read inbox', ...someone(r), count: 1 + r(4) }),
  ack: (r) => ({ do: 'ack', ...someone(r), killed: r(4) === 0 }),
  assert: (r) => ({ do: 'assert', ...someone(r) }),
  'renew lease': (r) => ({ do: 'renew lease', partition: r(PARTITIONS) }),
  week: (r) => ({ do: 'week', user: r(USERS.length), expire: r(2) === 0 }),
};
const SINCE = ['own', 'own', 'own', 'none', 'none', 'future'] as const;

/** How often each kind of step comes; what is rare in all of life is common in some schedules. */
const ORDINARY = {
  ...{ send: 18, member: 2, 'read log': 12, deliver: 14, 'check cursors': 2, 'take over': 2, advance: 2, replicate: 2 },
  ...{
    failover: 2,
    connect: 6,
    close: 1,
    'kill gateway': 1,
    'read inbox': 12,
    ack: 6,
    assert: 2,
    'renew lease': 1,
    week: 1,
  },
};
const KINDS: Partial<typeof ORDINARY>[] = [
  {},
  { failover: 10, replicate: 6, 'take over': 1 },
  {
    send: 12,
    'read log': 18,
    deliver: 22,
    'read inbox': 4,
    ack: 1,
    connect: 3,
    advance: 14,
    failover: 5,
    replicate: 1,
  },
  { member: 14, failover: 4, send: 14 },
  { send: 8, ack: 16, connect: 10, 'kill gateway': 3, failover: 0 },
  { send: 30, 'read inbox': 6, ack: 12, failover: 1, week: 3 },
];
/** Of each kind, every verb as often as its weight says. */
const WHEELS = KINDS.map((kind) =>
  Object.entries({ ...ORDINARY, ...kind }).flatMap(([verb, weight]) =>
    new Array<Step['do']>(weight).fill(verb as Step['do']),
  ),
);

export const STEPS = 40;

export function schedule(seed: number, steps = STEPS): Schedule {
  const r = random(seed);
  const replicas = r(3) !== 0;
  const first: Step[] = [
    { do: 'connect', user: ALICE, device: 0, since: 'none' },
    { do: 'connect', user: BOB, device: 0, since: 'none' },
  ];
  const wheel = WHEELS[r(WHEELS.length)]!;
  for (let i = 0; i < steps; i++) first.push(MAKERS[wheel[r(wheel.length)]!](r));
  return { replicas, steps: first };
}

/** A step in one line. */
export function say(step: Step): string {
  const { do: verb, ...rest } = step;
  return `${verb} ${Object.entries(rest)
    .map(([k, v]) => `${k}=${String(v)}`)
    .join(' ')}`;
}
