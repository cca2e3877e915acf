/** Clients that send what no client sends: nobody else may notice. */
import { FUZZERS, fuzzFrames, fuzzRequests } from '../fuzz.ts';
import { ROLES } from '../run/arena.ts';
import type { Fault } from './fault.ts';

/** What two cores do beside everybody else: what is looked for is damage, not load. */
const FRAMES_PER_S = 350;
const REQUESTS_PER_S = 70;

export const fuzz: Fault = {
  name: 'fuzz',
  does: 'mutated frames and HTTP requests at every gateway: nothing may fail, and nobody else may notice',
  // Whatever refuses or breaks a connection meanwhile would be told of the fuzz.
  victims: ['gateway', 'network', 'redis', 'fanout', 'archive', 'clock'],
  calmS: 2,
  async strike(arena, random) {
    const { frames, requests } = arena.fuzz;
    const gateways = [...arena.running('gateway')];
    const gateway = (i: number) => gateways[i % gateways.length]!;
    const token = (user: string) => arena.token(user);
    const made = await fetch(`${gateway(0).address}/v1/channels`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token('fuzz-0')}`, 'content-type': 'application/json' },
      body: JSON.stringify({ title: 'mutants', members: FUZZERS }),
    });
    if (!made.ok) throw new Error(`no group to fuzz: ${made.status} ${await made.text()}`);
    const { channel } = (await made.json()) as { channel: string };
    const target = { gateway, token, group: channel, seed: random.below(1e9) };
    await arena.tellOutage([]);
    const heard = await Promise.all([
      fuzzFrames({ ...target, perSecond: FRAMES_PER_S }, frames),
      fuzzRequests({ ...target, perSecond: REQUESTS_PER_S }, requests),
    ]);
    await arena.tellOutage(null);
    for (const what of heard.flatMap(({ wrong }) => wrong)) arena.complain(`seed ${target.seed}: ${what}`);
    for (const { pid, log } of ROLES.flatMap((role) => arena.running(role))) {
      for (const line of log) if (/unexpected failure/.test(line)) arena.complain(`${pid}: ${line}`);
    }
    const told = heard.map(({ counts }) => [...counts].map(([what, times]) => `${times} × ${what}`).join(', '));
    return `${frames} frames (${told[0]}), ${requests} requests (${told[1]}), seed ${target.seed}`;
  },
};
