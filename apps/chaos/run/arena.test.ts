/** What breaks the verdict of every run, whatever its faults: a process that ends though nobody struck it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../../ops/until.ts';
import { Random } from '../random.ts';
import { Arena } from './arena.ts';

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.start({ topology: 'standalone', archive: 'sqlite', processesPerRole: 2, say: () => undefined });
}, 120_000);
afterAll(() => arena?.stop());

it('a process that a fault has hold of may end, and one that is replaced', async () => {
  const victim = await arena.take('pusher', new Random(1));
  await victim.kill('SIGKILL');
  await arena.add('pusher');
  await arena.takeThis('pusher', arena.running('pusher')[0]!).stop();
  await arena.add('pusher');
  expect(arena.running('pusher')).toHaveLength(2);
  expect(arena.complaints()).toEqual([]);
}, 60_000);

it('one that ends by itself is complained about, and another takes its place', async () => {
  const [crashing] = arena.running('presence');
  process.kill(crashing!.pid, 'SIGABRT');
  await crashing!.exited;
  const complaints = await until(
    'it is noticed',
    10_000,
    () => arena.complaints(),
    (all) => all.length > 0,
  );
  expect(complaints).toEqual([expect.stringMatching(`^presence ${crashing!.pid} ended by itself: SIGABRT`)]);
  await until('another is there', 30_000, () => arena.running('presence').length === 2);
  expect(arena.running('presence')).not.toContain(crashing);
}, 60_000);

it('one that ended while a fault kept it out of the way is noticed when it is given back', async () => {
  const [idle] = arena.running('fanout');
  arena.takeThis('fanout', idle!);
  process.kill(idle!.pid, 'SIGKILL');
  await idle!.exited;
  const before = arena.complaints().length;
  arena.giveBack('fanout', idle!);
  await until('it is noticed', 10_000, () => arena.complaints().length > before);
}, 60_000);
