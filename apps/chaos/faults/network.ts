/** What networks do, through the proxies between crowd, gateways, workers and Redis. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Direction, TcpProxy } from '../../../ops/proxy.ts';
import type { Random } from '../random.ts';
import type { Arena } from '../run/arena.ts';
import type { Fault } from './fault.ts';

/** Every line that has a proxy, by name. */
function lines(arena: Arena): [name: string, proxy: TcpProxy][] {
  const all: [string, TcpProxy | undefined][] = [
    ['clients and gateways', arena.clients],
    ['gateways and Redis', arena.gatewayRedis],
    ['workers and Redis', arena.workerRedis],
  ];
  return all.filter((line): line is [string, TcpProxy] => line[1] !== undefined);
}

const cut: Fault = {
  name: 'net-cut',
  does: 'all connections between clients and gateways, or gateways or workers and Redis, are reset; five times',
  victims: ['network'],
  calmS: 5,
  async strike(arena, random) {
    const struck: string[] = [];
    for (let i = 0; i < 5; i++) {
      const [name, proxy] = random.pick(lines(arena));
      struck.push(`${proxy.connections} between ${name}`);
      proxy.cut();
      await sleep(random.between(200, 3_000));
    }
    return `reset ${struck.join('; ')}`;
  },
};

const latency: Fault = {
  name: 'net-latency',
  does: 'everything on one of these lines takes 20 to 150 ms longer each way, for 10 s',
  victims: ['network'],
  calmS: 5,
  async strike(arena, random) {
    const [name, proxy] = random.pick(lines(arena));
    const ms = Math.round(random.between(20, 150));
    proxy.slow(ms);
    await sleep(10_000);
    proxy.slow(0);
    return `${ms} ms between ${name}`;
  },
};

const oneWay: Fault = {
  name: 'net-one-way',
  does: 'one direction of one of these lines is dead for 4 to 12 s: what is sent that way comes late, or never',
  victims: ['network'],
  calmS: 10,
  async strike(arena, random) {
    const [name, proxy] = random.pick(lines(arena));
    const direction = random.pick<Direction>(['up', 'down']);
    const seconds = random.between(4, 12);
    proxy.hold(direction);
    await sleep(seconds * 1000);
    // Half the time the connections do not survive it, and with them what was on its way.
    const lost = random.chance(0.5);
    if (lost) proxy.cut();
    proxy.release(direction);
    return `${name}: nothing ${direction} for ${seconds.toFixed(1)} s${lost ? ', and then lost' : ''}`;
  },
};

const lostAnswers: Fault = {
  name: 'net-lost-answers',
  does: 'on each of these lines in turn: what is asked is done, and the answers of 0.3 s are lost with the connections',
  victims: ['network'],
  calmS: 3,
  async strike(arena, random) {
    for (const [, proxy] of random.shuffled(lines(arena))) {
      proxy.hold('down');
      await sleep(300);
      proxy.cut();
      proxy.release('down');
      await sleep(random.between(300, 600));
    }
    return 'the answers of 0.3 s were lost on each line';
  },
};

const slowReader: Fault = {
  name: 'slow-reader',
  does: 'one in eight devices does not read its socket for 10 to 15 s',
  victims: ['network'],
  calmS: 6,
  async strike(arena: Arena, random: Random) {
    const seconds = random.between(10, 15);
    arena.slowClients.choke(true);
    await sleep(seconds * 1000);
    arena.slowClients.choke(false);
    return `${arena.slowClients.connections} devices did not read for ${seconds.toFixed(1)} s`;
  },
};

export const networkFaults: readonly Fault[] = [cut, latency, oneWay, lostAnswers, slowReader];
