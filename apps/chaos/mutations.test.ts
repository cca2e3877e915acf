/**
 * Random mutations of what is valid, from a printed seed: the processes stay up, log no failure, and answer with no
 * `internal` and no 5xx that is not `unavailable`. MUTATION_SEED repeats a run, MUTATIONS sets their number.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FUZZERS, fuzzFrames, fuzzRequests, type Target } from './fuzz.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const SEED = Number(process.env.MUTATION_SEED ?? Date.now() % 1_000_000_007);
const FRAMES = Number(process.env.MUTATIONS ?? 50_000);
const REQUESTS = FRAMES / 5;

let stage: Stage;
let neighbour: RawSession;
let target: Target;
beforeAll(async () => {
  console.log(`seed ${SEED}`);
  stage = await Stage.set();
  neighbour = await RawSession.start(stage.deployment, stage.gateway(0), 'neighbour');
  const members = ['neighbour', ...FUZZERS];
  const { channel } = await stage.call<{ channel: string }>('fuzz-0', 'POST /v1/channels', { title: 't', members });
  const { gateway, deployment } = { gateway: (i: number) => stage.gateway(i), deployment: stage.deployment };
  target = { gateway, token: (user) => deployment.token(user), group: channel, seed: SEED };
});
afterAll(() => stage?.clear());

afterEach(async () => {
  expect(stage.complaints()).toEqual([]);
  expect(stage.deployment.processes.size).toBe(3);
  await neighbour.ping('alive');
  expect(neighbour.of('error')).toEqual([]);
});

describe(`mutations from seed ${SEED}`, () => {
  it(`${FRAMES} of frames`, async () => {
    const { counts, wrong } = await fuzzFrames(target, FRAMES);
    console.log(`${FRAMES} frames; ${show(counts)}`);
    expect(wrong, `seed ${SEED}`).toEqual([]);
    expect(counts.size).toBeGreaterThan(1);
  }, 120_000);

  it(`${REQUESTS} of HTTP requests`, async () => {
    const { counts, wrong } = await fuzzRequests(target, REQUESTS);
    console.log(`${REQUESTS} requests; ${show(counts)}`);
    expect(wrong, `seed ${SEED}`).toEqual([]);
    expect(counts.size).toBeGreaterThan(1);
  }, 120_000);
});

const show = (counts: Map<unknown, number>) => JSON.stringify(Object.fromEntries([...counts].sort()));
