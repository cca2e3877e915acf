/**
 * The model is worth what it has in common with the scripts: the same random schedules on both, with a real Redis, whose
 * partitions are put back where the model's fail over. After each step both must hold the same.
 */
import { beforeEach, expect, test } from 'vitest';
import { useStore } from '../harness.ts';
import { say, schedule } from './schedule.ts';
import type { Call } from './store.ts';
import { shapeOf, Tied } from './tied.ts';
import { World } from './world.ts';

const store = useStore();
const SCHEDULES = 12;
const ATTEMPTS = 20;

beforeEach(async () => {
  // XTRIM's `~` trims whole nodes: with one entry a node it is exact, as the model is.
  await store.redis.config('SET', 'stream-node-max-entries', '1');
});

async function runOnBoth(seed: number, tied: Tied): Promise<void> {
  await store.redis.flushall();
  await tied.begin();
  const calls: { call: Call; at: number }[] = [];
  const planned = schedule(seed);
  const world = new World(planned, undefined, (call, at) => calls.push({ call, at }));
  const compare = async (what: string) => {
    for (const { call, at } of calls.splice(0)) {
      const reply = await tied.repeat(call, at);
      if ('reply' in call) expect(reply, `${what}: ${call.verb}`).toEqual(call.reply);
    }
    expect(await tied.read(), what).toEqual(shapeOf(world.store.nodes));
  };
  await compare('the beginning');
  for (const [i, step] of planned.steps.entries()) {
    world.step(step);
    await compare(`step ${i}, ${say(step)}`);
  }
  world.settle();
  await compare('the end');
}

test.each(Array.from({ length: SCHEDULES }, (_, i) => i + 1))(
  'schedule %i: the scripts do as the model does',
  async (seed) => {
    for (let attempt = 1; ; attempt++) {
      const tied = new Tied(store.redis);
      try {
        return await runOnBoth(seed, tied);
      } catch (error) {
        // In the model a call takes no time: one that saw two milliseconds is no comparison.
        if (!tied.blurred || attempt === ATTEMPTS) throw error;
      }
    }
  },
  120_000,
);
