import { afterAll, expect, it } from 'vitest';
import { Random } from '../random.ts';
import { startStore } from '../run/store.ts';
import { pickShard, shardsOf } from './nodes.ts';

const store = await startStore('sentinel');
afterAll(() => store.stop());

it('a shard is struck with all of its servers, also when one of them does not answer for a moment', async () => {
  const replica = store.sentinel!.replicas[0]!;
  replica.kill('SIGSTOP');
  const picked = pickShard(store, new Random(1));
  expect((await shardsOf(store))[0]?.replicas).toHaveLength(1);
  replica.kill('SIGCONT');
  expect((await picked).replicas).toHaveLength(2);
}, 90_000);
